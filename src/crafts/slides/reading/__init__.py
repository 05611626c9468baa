"""Slides opened: libraries, what headers say, resolution, and which files are slides."""
