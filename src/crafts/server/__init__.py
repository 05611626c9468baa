"""The studio: an HTTP interface to the stages, and a page in the browser that speaks it."""
