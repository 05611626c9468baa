"""Strict configuration: one frozen pydantic class a stage.

YAML, ``--set a.b=c`` and Python meet the same validator.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from crafts.core.errors import ConfigError
from crafts.core.parsing import DEEPEST, MOST_CHARACTERS, TooLargeError, parse_yaml, shorten

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


class Config(BaseModel):
    """Base of all stage configurations: immutable, unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


C = TypeVar("C", bound=Config)


def load_config(
    kind: type[C], source: Path | Mapping[str, Any] | None = None, overrides: Sequence[str] = ()
) -> C:
    """Read, override and validate a configuration.

    Args:
        kind: the configuration class.
        source: a YAML file, a mapping, or None for the defaults.
        overrides: ``a.b=c`` strings; the value is read as YAML.

    Raises:
        ConfigError: the file is missing or no mapping, an override is malformed, or a field is
            unknown or out of bounds; names the file and the field.
    """
    name = str(source) if isinstance(source, Path) else kind.__name__
    values = _read_yaml(source) if isinstance(source, Path) else dict(source or {})
    for override in overrides:
        _apply(values, override)
    return validate(kind, values, name)


def validate(kind: type[C], values: Mapping[str, Any], name: str) -> C:
    """Validate a mapping.

    Args:
        kind: the configuration class.
        values: its fields.
        name: what an error names as the source of the values.

    Raises:
        ConfigError: a field is unknown, missing or out of bounds; names the first.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"]) or "top level"
        more = f" ({error.error_count() - 1} more after it)" if error.error_count() > 1 else ""
        raise ConfigError(
            f"{name}: {field}",
            came=f"{shorten(fault.get('input'))}{more}",
            allowed=_allowed(kind, fault),
            do="Correct this field; --dry-run prints the resolved configuration.",
        ) from None


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML, in the order of the fields."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def is_section(field: FieldInfo) -> bool:
    """Whether a field holds fields of its own, which only ``--set a.b=c`` and Python reach."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def bounds_of(field: FieldInfo) -> tuple[Any, Any]:
    """The least and the most that a field takes; None where it has no such bound."""
    least = [mark.ge for mark in field.metadata if hasattr(mark, "ge")]
    most = [mark.le for mark in field.metadata if hasattr(mark, "le")]
    return (least or [None])[0], (most or [None])[0]


def describe_field(field: FieldInfo) -> str:
    """What a field means, and its bounds, for help and docstrings."""
    least, most = bounds_of(field)
    bounds = {(True, True): f" {least} to {most}.", (True, False): f" {least} or more."}
    return f"{field.description or ''}{bounds.get((least is not None, most is not None), '')}"


F = TypeVar("F", bound=Callable[..., Any])


def takes(kind: type[Config]) -> Callable[[F], F]:
    """Let the signature and the docstring of a function show the fields that it takes.

    Args:
        kind: the configuration that validates its ``**options``; the line of these in the docstring
            is replaced by one for each field.
    """

    def show(function: F) -> F:
        own = inspect.signature(function)
        given = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
        fields = {name: f for name, f in kind.model_fields.items() if name not in own.parameters}
        keyword = inspect.Parameter.KEYWORD_ONLY
        given += [
            inspect.Parameter(name, keyword, default=field.default, annotation=field.annotation)
            for name, field in fields.items()
        ]
        lines = [f"{name}: {describe_field(field)}" for name, field in fields.items()]
        found = re.search(r"^( *)\*\*options: .*$", function.__doc__ or "", re.MULTILINE)
        if function.__doc__ and found:
            fill = textwrap.TextWrapper(100, found[1], f"{found[1]}    ").fill
            listed = "\n".join(map(fill, lines))
            function.__doc__ = function.__doc__.replace(found[0], listed)
        function.__signature__ = own.replace(parameters=given)  # type: ignore[attr-defined]
        return function

    return show


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(
            str(path),
            came="no such file",
            allowed="a YAML file",
            do="Check the path of the recipe.",
        )
    try:
        with path.open(encoding="utf-8") as handle:
            values = parse_yaml(handle.read(MOST_CHARACTERS + 1))
    except ValueError as error:
        raise ConfigError(
            str(path),
            came=f"unreadable YAML ({error})",
            allowed="valid YAML in UTF-8",
            do="Correct the file.",
        ) from None
    if not isinstance(values, dict):
        raise ConfigError(
            str(path),
            came=type(values).__name__,
            allowed="a mapping of fields",
            do="Write `field: value` lines.",
        )
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise ConfigError(
            f"--set {shorten(override)[1:-1]}",
            came="no `=`",
            allowed="a.b=value",
            do="Write for example --set optim.lr=1e-4.",
        )
    parts = path.split(".")
    if len(parts) > DEEPEST:
        raise ConfigError(
            f"--set {shorten(path)[1:-1]}",
            came=f"{len(parts)} levels",
            allowed="a.b=value",
            do="Name a field of the configuration.",
        )
    target = values
    for part in parts[:-1]:
        inner = target.get(part)
        target[part] = dict(inner) if isinstance(inner, Mapping) else {}
        target = target[part]
    try:
        target[parts[-1]] = _scalar(parse_yaml(text))
    except TooLargeError as error:
        raise ConfigError(
            f"--set {shorten(path)[1:-1]}",
            came=str(error),
            allowed="a value of this field",
            do="Shorten the value.",
        ) from None
    except ValueError:  # no YAML: a text
        target[parts[-1]] = text


def _scalar(value: Any) -> Any:
    """YAML 1.1 reads ``1e-4`` as text; people mean a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _allowed(kind: type[Config], fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        owner = _owner(kind, fault["loc"])
        return "one of: " + ", ".join(owner.model_fields) if owner else "a known field"
    return describe_allowed(fault)


def _owner(kind: type[BaseModel], loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """The configuration class that an unknown key was given to, or None behind a tagged union."""
    owner: Any = kind
    for part in loc[:-1]:
        field = owner.model_fields.get(part)
        owner = field.annotation if field else None
        if not (isinstance(owner, type) and issubclass(owner, BaseModel)):
            return None
    return owner


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
