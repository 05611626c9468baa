"""Pure functions of arrays: what readings are worth, with intervals."""
