"""Short texts from reports: picked from them, or written by a language model and checked."""
