"""Masks and fluorescence in the formats people have."""
