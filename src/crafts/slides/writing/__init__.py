"""Pictures of any height into files that slide viewers open, in the memory of a few rows."""
