"""What the HTTP interface answers, one file a subject."""
