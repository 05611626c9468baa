"""Folders of models: where they lie, what they must pass, how they are read and written."""
