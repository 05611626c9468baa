"""What the readings of a closed study say, and how the report says it."""
