"""Networks that others trained, or we, and that turn images into features."""
