"""The CRAFTS objective: relations, categories, strength, and a watch for collapse."""
