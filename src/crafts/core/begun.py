"""A run that is gone on with must be the run that was begun."""

from __future__ import annotations

from pathlib import Path

from crafts.core.artifacts import LOCK, write_bytes
from crafts.core.config import Config, dump_config
from crafts.core.errors import ConfigError


def hold_to(config: Config, path: Path) -> None:
    """Note the configuration of a run in its output; refuse to go on with another one.

    Args:
        config: resolved.
        path: of the note, in the output folder.

    Raises:
        ConfigError: the run was begun with another configuration.
    """
    hold_text(dump_config(config), path, "another configuration than this one")


def hold_text(text: str, path: Path, came: str) -> None:
    """Note what a run was begun with; refuse to go on with anything else.

    Args:
        text: of the note.
        path: of the note, in the output folder.
        came: what another text means, for the message.

    Raises:
        ConfigError: the run was begun with another text.
    """
    data = text.encode()
    if path.is_file() and path.read_bytes() != data:
        raise ConfigError(
            str(path),
            came=came,
            allowed="the one that this output was begun with",
            do="Repeat its options, or choose another --output.",
        )
    write_bytes(path, data)


def mark_of(output: Path, note: str) -> str:
    """By which an unfinished run is known: its note, or its lock where the note came not to be."""
    return note if (output / note).is_file() else LOCK
