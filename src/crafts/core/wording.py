"""What a field of a configuration would have taken, in words of this house."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PLAIN = {
    "missing": "a value (the field is required)",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a section of fields",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "frozen_set_type": "a list",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "mapping_type": "a section of fields",
    "model_attributes_type": "a section of fields",
    "model_type": "a section of fields",
    "none_required": "null",
    "path_type": "a path",
    "string_type": "text",
    "string_unicode": "text in UTF-8",
    "tuple_type": "a list",
}
_FILLED = {
    "greater_than": "above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "below {lt}",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "too_long": "at most {max_length} entries",
    "too_short": "at least {min_length} entries",
    "union_tag_invalid": "{discriminator} one of {expected_tags}",
    "union_tag_not_found": "a section with {discriminator}",
}


def describe_allowed(fault: Mapping[str, Any]) -> str:
    """The words for one fault that pydantic found.

    Args:
        fault: one entry of ``ValidationError.errors()``.
    """
    kind, context = fault["type"], fault.get("ctx", {})
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in _FILLED:
        return _FILLED[kind].format(**context)
    if kind == "value_error":  # of a check of ours, whose sentence says what is right
        return str(context.get("error", "another value"))
    message: str = fault["msg"].removeprefix("Input should be ").removeprefix("Input should ")
    return message[:1].lower() + message[1:]
