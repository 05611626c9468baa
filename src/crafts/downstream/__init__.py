"""What generated tiles are worth in a task: arms trained alike, with the controls beside them."""
