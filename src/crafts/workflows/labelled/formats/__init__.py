"""The set as the readers of others take it: one module a layout."""
