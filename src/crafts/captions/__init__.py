"""Captions of tiles: what a caption may say, and in which words."""
