"""From pixels and features to the cause of a failure."""
