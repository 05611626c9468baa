"""Sets of features for the tests of an evaluation."""

from fixtures_sets import make_set

__all__ = ["make_set"]
