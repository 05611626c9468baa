"""Text without what identifies a person or talks to a machine."""
