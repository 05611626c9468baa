"""Whole-slide images: read by one reader, masked, gridded in microns, cut into tiles."""
