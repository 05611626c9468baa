"""One tile: its pixels, its mask, its augmentation."""
