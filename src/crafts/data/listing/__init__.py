"""Tables and published corpora brought to rows."""
