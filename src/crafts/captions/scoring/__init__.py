"""Scores of tiles from files, or estimated from the pixels."""
