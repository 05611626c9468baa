"""A labelled set of synthetic tiles: ``crafts dataset``."""
