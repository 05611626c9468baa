"""Which slide a row of a user's table means: named by its file or by its path below the input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from crafts.core.errors import ConfigError
from crafts.core.runtime import say
from crafts.core.tables import same_name
from crafts.slides.reading.slide_files import SlideFile

T = TypeVar("T")


def group_rows(
    table: Mapping[str, T], sources: Sequence[SlideFile], where: str
) -> dict[str, dict[str, T]]:
    """What a table says of each slide.

    A row names a slide by its file (``good.svs``), without the suffix where that is clear
    (``good``), or by its path below the input (``sub/good.svs``, ``./good.svs``). Rows that name no
    slide are told: a typing error would pass for nothing said.

    Args:
        table: what it says, by the name that a row gives.
        sources: all slides of the input, also those of other shards.
        where: the table, for messages.

    Returns:
        Name of the slide -> name in the row -> what the row says; nothing for other slides.

    Raises:
        ConfigError: a name fits several slides.
    """
    # the first of these spellings that fits decides: `a.svs` is a file before it is `a.svs.tif`
    spellings = [
        _index((_path(source), source) for source in sources),
        _index((_without_suffix(source), source) for source in sources),
        _index((source.path.name, source) for source in sources),
        _index((source.path.stem, source) for source in sources),
    ]
    rows: dict[str, dict[str, T]] = defaultdict(dict)
    unknown = []
    for name, value in table.items():
        spelt = same_name(name)
        found = next((index[spelt] for index in spellings if spelt in index), [])
        if len(found) > 1:
            raise _ambiguous(name, found, where)
        if found:
            rows[found[0].name][name] = value
        else:
            unknown.append(name)
    if unknown:
        count = f"{len(unknown)} of {len(table)} names in it"
        say(f"tile: {where}: {count} are of no slide of the input, the first {unknown[0]!r}")
    return dict(rows)


def one_value(table: Mapping[str, T], sources: Sequence[SlideFile], where: str) -> dict[str, T]:
    """What a table says of each slide, of which it may say one thing only.

    Args:
        table: see :func:`group_rows`.
        sources: all slides of the input.
        where: the table, for messages.

    Returns:
        Name of the slide -> what the table says.

    Raises:
        ConfigError: a name fits several slides, or two names of one slide have different values.
    """
    values = {}
    for slide, rows in group_rows(table, sources, where).items():
        (first, value), *others = rows.items()
        for name, other in others:
            if other != value:
                raise ConfigError(
                    where,
                    came=f"one slide under two names, {first!r} with {value!r} and {name!r} with "
                    f"{other!r}",
                    allowed="one value a slide",
                    do="Delete the wrong row.",
                )
        values[slide] = value
    return values


def _index(pairs: Iterable[tuple[str, SlideFile]]) -> dict[str, list[SlideFile]]:
    index = defaultdict(list)
    for name, source in pairs:
        index[same_name(name)].append(source)
    return dict(index)


def _path(source: SlideFile) -> str:
    """With at least one slash, so that it cannot be taken for the name of a file."""
    return source.place if "/" in source.place else f"./{source.place}"


def _without_suffix(source: SlideFile) -> str:
    return _path(source).removesuffix("" if source.path.is_dir() else source.path.suffix)


def _ambiguous(name: str, found: Sequence[SlideFile], where: str) -> ConfigError:
    paths = ", ".join(repr(_path(source)) for source in found[:3])
    return ConfigError(
        where,
        came=f"{name!r}, which names {len(found)} slides ({paths}{', ...' * (len(found) > 3)})",
        allowed="names that fit one slide each",
        do="Write a slide's path below the input instead, one row for each.",
    )
