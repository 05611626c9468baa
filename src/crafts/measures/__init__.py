"""How good a set of tiles is, in numbers: pure functions of features, pixels and masks."""
