"""Prompts to image files with provenance."""
