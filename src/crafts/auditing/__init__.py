"""Whether generated tiles are copies of training tiles, and what a model gives away of them."""
