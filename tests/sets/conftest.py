"""Sets of features for the tests of sets."""

from fixtures_sets import make_set

__all__ = ["make_set"]
