"""Scorecards: what a model, a codec or a ControlNet reaches on held-out tiles, beside controls."""
