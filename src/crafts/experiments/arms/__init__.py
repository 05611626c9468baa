"""What an arm begins with, how it is trained, and what a step of it costs."""
