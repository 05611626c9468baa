"""What a report says, field by field, and in short statements."""
