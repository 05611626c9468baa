"""A model of one's own from a folder of tiles: ``crafts finetune``."""
