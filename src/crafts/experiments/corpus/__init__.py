"""Tiles that an experiment trains on and is judged by, and their words in the ways it compares."""
