"""What readers are shown: drawn, matched, made alike, and put in order."""
