"""Releasing: trained networks, scored, go into a folder of weights with card, figures, licence."""
