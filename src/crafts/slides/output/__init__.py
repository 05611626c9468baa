"""What a run of tiling leaves: tiles, tables, outlines, and what they were made from."""
