"""The page of an audit: its sentences, its tables, its pictures."""
