"""Which training tile holds the structure of a tile, however it was turned or stained anew."""
