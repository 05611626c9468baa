"""The published experiments by name. The command exists; no experiment is built yet."""

from __future__ import annotations

from pathlib import Path

from crafts.core.errors import NotYetError


def run(name: str, output: Path, *, fast: bool = False) -> None:
    """Repeat a published experiment.

    Args:
        name: the experiment.
        output: folder for its numbers.
        fast: a smaller version that ends in minutes.

    Raises:
        NotYetError: always, until the first experiment is built.
    """
    raise NotYetError(
        f"crafts experiment {name}",
        came="experiments are not built yet",
        allowed="a command that is",
        do="README lists what works now.",
    )
