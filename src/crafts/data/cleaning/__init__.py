"""What a corpus loses before training, and the card of what is left."""
