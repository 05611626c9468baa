"""YAML and JSON that someone else wrote: a value or a reason, within bounds, never a surprise."""

from __future__ import annotations

import json
import re
import reprlib
from typing import Any

import yaml

MOST_CHARACTERS = 2_000_000
MOST_NODES = 100_000  # values of a document, aliases counted as what they stand for
DEEPEST = 64
LONGEST_NUMBER = 100  # characters

_WHOLE = re.compile(r"[-+]?(0x[0-9a-fA-F_]+|0b[01_]+|[0-9][0-9_:]*)")
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 4, 80, 80, 80
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = 20


class TooLargeError(ValueError):
    """A document beyond the bounds of this module; the message says which."""


def parse_yaml(text: str) -> Any:
    """The value of a YAML document: mappings, lists, texts, numbers, dates.

    Its size is known before anything is built: a few hundred characters of nested aliases can stand
    for more values than any memory holds.

    Raises:
        TooLargeError: too many characters, values, levels or digits.
        ValueError: no YAML; the message is one line.
    """
    try:
        _measure(text)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    # what the library raises for tags and dates that do not fit their values
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"a value that does not fit its tag: {error}") from None


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON document.

    Raises:
        TooLargeError: nested too deeply, or a number with thousands of digits.
        ValueError: no JSON, no UTF-8, or an object with one name twice; the message is one line.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise TooLargeError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(error.msg) from None
    except UnicodeDecodeError:
        raise ValueError("no UTF-8") from None
    except ValueError as error:
        if "digits" in str(error):
            raise TooLargeError("an integer of thousands of digits") from None
        raise
    if _is_deep(value, DEEPEST):
        raise TooLargeError("nested too deeply")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {max(names, key=names.count)!r} twice")
    return found


def _is_deep(value: Any, levels: int) -> bool:
    if not isinstance(value, list | dict):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deep(one, levels - 1) for one in inner)


def shorten(value: Any) -> str:
    """A value for a message, at most 80 characters, however large, deep or long it is."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # Python refuses to write a number of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "..."


def _measure(text: str) -> None:
    """Refuse a document beyond the bounds, by its events, which come one by one."""
    if len(text) > MOST_CHARACTERS:
        raise TooLargeError(f"{len(text)} characters; at most {MOST_CHARACTERS}")
    known: dict[str, tuple[int, int]] = {}  # anchor -> values and levels it stands for
    open_nodes: list[tuple[str | None, int, int]] = [(None, 0, 0)]
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1, 1))
            if len(open_nodes) > DEEPEST:
                raise TooLargeError(f"more than {DEEPEST} levels")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size, levels = open_nodes.pop()
        elif isinstance(event, yaml.AliasEvent):
            anchor, (size, levels) = None, known.get(event.anchor or "", (1, 1))
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size, levels = event.anchor, 1, 1
            _check_number(event)
        else:
            continue
        if anchor:
            known[anchor] = size, levels
        above, total, deepest = open_nodes[-1]
        open_nodes[-1] = above, total + size, max(deepest, levels + 1)
        if total + size > MOST_NODES:
            raise TooLargeError(f"more than {MOST_NODES} values")
        if len(open_nodes) + levels > DEEPEST:
            raise TooLargeError(f"more than {DEEPEST} levels")


def _check_number(event: Any) -> None:
    number = event.implicit[0] or event.tag == "tag:yaml.org,2002:int"
    if number and len(event.value) > LONGEST_NUMBER and _WHOLE.fullmatch(event.value):
        raise TooLargeError(f"a number of {len(event.value)} digits; at most {LONGEST_NUMBER}")
