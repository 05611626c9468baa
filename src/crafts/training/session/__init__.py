"""What surrounds the loop: processes, interrupts, resume, metrics, speed, cost."""
