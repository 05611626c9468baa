"""Tiles that are judged: folders, their features, their splits, and what is drawn from them."""
