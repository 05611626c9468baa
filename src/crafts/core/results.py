"""Results as strict JSON: a number that could not be had is ``null``, never NaN or infinity."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BeforeValidator

from crafts.core.config import Config


def _finite(value: Any) -> Any:
    """NaN and infinity are no results; None is."""
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A finite number, or None where it could not be had."""


class ResultFile(Config):
    """Base of what a stage writes as one file of results; its fields are the schema of the file."""

    def to_json(self) -> str:
        """Text of the file.

        Raises:
            ValueError: a field that is no :data:`Number` is not finite.
        """
        values = self.model_dump(mode="json")
        return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
