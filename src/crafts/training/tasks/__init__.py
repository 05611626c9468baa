"""What the one loop can train, each with its stage's configuration."""
