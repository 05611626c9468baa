"""The quality gate: thresholds from real tiles, and the tiles that pass."""
