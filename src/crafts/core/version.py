"""The version of the package; in a module of its own, so that no part has to import the whole."""

__version__ = "0.1.0"
