"""Refusals: a generator that has seen a test patient, copies, and a judge that is its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from crafts.captions.trained_on import TrainedOn, collect, read_trained_on
from crafts.core.artifacts import MANIFEST, Manifest, load_manifest
from crafts.core.errors import ConfigError, DataError
from crafts.data.collection import Collection, Tile, group_of
from crafts.downstream.config import BenchmarkConfig
from crafts.downstream.opening import Opened, Side
from crafts.model.files.places import is_shipped, resolve_model
from crafts.sets.splits import AUTO, choose_split

_SHOWN = 3


class Images(Protocol):
    """Tiles by number."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """As its folder lists it."""
        ...

    def load(self, index: int) -> Tile | str:
        """The tile, or why it cannot be used."""
        ...


FindCopies = Callable[[Images, Images], Sequence[tuple[str, str, str]]]
"""Suspects and tiles that they may be copies of -> those that are: name, source, what was done."""


def refuse_leaks(
    config: BenchmarkConfig, opened: Opened, *, encoder: dict[str, Any], find_copies: FindCopies
) -> None:
    """Refuse what would make a gain look better than it is; what cannot be checked is noted.

    Args:
        config: of the stage.
        opened: its sets; notes are added to it.
        encoder: facts of the judge.
        find_copies: the search of the audit.

    Raises:
        DataError: a test patient that the generator saw, or generated tiles that are copies.
        ConfigError: judge and generator share weights.
    """
    tested = _tested(opened)
    _refuse_external(opened)
    if config.trained is not None:
        columns = config.columns.as_columns()
        split = choose_split(config.trained, AUTO, wanted="train", columns=columns)
        seen = Collection(config.trained, split=split or None, columns=columns).groups()
        _refuse_patients(f"benchmark: trained {config.trained}", seen, tested)
    for side in opened.generated:
        where = f"benchmark: --generated {side.source.path}"
        rows = [group_of(row) for row in side.tiles.set.rows]
        _refuse_patients(where, rows, tested)
        manifest = _manifest_of(side)
        folder = _model_folder(config.model, manifest)
        _refuse_own_judge(where, folder, manifest, encoder=encoder, notes=opened.notes)
        known = read_trained_on(folder) if folder else None
        if config.trained is None:
            _check_corpora(where, known, opened, name=side.name)
        _refuse_copies(where, side, opened, find_copies)


def _tested(opened: Opened) -> set[str]:
    """Names of the patients that are tested on."""
    rows = opened.real.tiles.set.rows
    found = {group_of(rows[k]) for k in opened.test}
    if opened.external is not None:
        found |= {group_of(row) for row in opened.external.tiles.set.rows}
    return found - {""}


def _refuse_external(opened: Opened) -> None:
    if opened.external is None:
        return
    rows = opened.real.tiles.set.rows
    seen = [group_of(rows[k]) for k in opened.train]
    other = {group_of(row) for row in opened.external.tiles.set.rows} - {""}
    _refuse_patients(f"benchmark: --external {opened.external.source.path}", seen, other)


def _refuse_patients(where: str, seen: Sequence[str], tested: set[str]) -> None:
    """Refuse patients on both sides, by name.

    Raises:
        DataError: names the first ones.
    """
    shared = sorted(set(seen) & tested)
    if shared:
        raise DataError(
            where,
            came=f"{len(shared)} test patients that were seen in training: {_some(shared)}",
            allowed="a generator that has seen no patient of the test tiles",
            do="Test on other patients, or train the generator without these.",
        )


def _manifest_of(side: Side) -> Manifest | None:
    folder = next(iter(side.source.parts.values()))
    return load_manifest(folder) if (folder / MANIFEST).is_file() else None


def _model_folder(given: str, manifest: Manifest | None) -> Path | None:
    """Folder of the model that made the tiles, as far as it is at hand."""
    named = given or str((manifest.extra.get("model") or {}).get("name", "") if manifest else "")
    if given or is_shipped(named):
        return resolve_model(named)
    return Path(named) if named and Path(named).is_dir() else None


def _refuse_own_judge(
    where: str,
    folder: Path | None,
    manifest: Manifest | None,
    *,
    encoder: dict[str, Any],
    notes: list[str],
) -> None:
    """Refuse features of a network that is a part of the generator.

    Raises:
        ConfigError: the weights are among the files or the inputs of the model.
    """
    hashes: set[str] = set(manifest.inputs.values()) if manifest else set()
    if folder is not None and (folder / MANIFEST).is_file():
        model = load_manifest(folder)
        hashes |= {entry.sha256 for entry in model.files.values()} | set(model.inputs.values())
    own = {str(encoder.get("weights_sha256")), str(encoder.get("fingerprint"))} & hashes
    if own:
        raise ConfigError(
            where,
            came=f"tiles of a generator that holds the weights of the encoder {encoder['name']!r}",
            allowed="an encoder that had no part in the generator",
            do="Choose another one: --set encoder=DIR.",
        )
    if manifest is not None and manifest.config.get("keep") and encoder.get("name") == "mini":
        notes.append(
            f"{where}: the quality gate kept these tiles by the same encoder that judges them "
            "here; compare with tiles that no gate has chosen."
        )


def _check_corpora(where: str, known: TrainedOn | None, opened: Opened, *, name: str) -> None:
    """Compare what a model says of its training with the real tiles; it names no patients.

    Raises:
        DataError: it was trained on the test tiles, or on all real tiles.
    """
    rows = [{**row, "key": row.get("key") or row.get("name")} for row in opened.real.tiles.set.rows]
    if known is None:
        opened.notes.append(
            f"{name}: nothing tells what the generator was trained on. Name it with --set trained="
            "DIR (its tiles) or --set model=DIR; otherwise only copies were looked for."
        )
        return
    parts = {"all real tiles": rows, "the test tiles": [rows[k] for k in opened.test]}
    for what, part in parts.items():
        if set(collect(part).corpora) & set(known.corpora):
            raise DataError(
                where,
                came=f"a generator that was trained on {what}",
                allowed="one that has seen no patient of the test tiles",
                do="Test on other patients, or train the generator on the training split alone.",
            )
    if set(collect([rows[k] for k in opened.train]).corpora) & set(known.corpora):
        return
    sets = set(known.sets()) & {str(rows[k].get("set") or "") for k in opened.test} - {""}
    shared = (
        f" It was trained on tiles of {', '.join(sorted(sets))}, as tested here." if sets else ""
    )
    opened.notes.append(
        f"{name}: the model does not name its training patients, so only copies were looked for."
        f"{shared} Give its training tiles: --set trained=DIR."
    )


def _refuse_copies(where: str, side: Side, opened: Opened, find_copies: FindCopies) -> None:
    """Refuse generated tiles that show a real one.

    Raises:
        DataError: names the first pairs.
    """
    real = [opened.real] if opened.external is None else [opened.real, opened.external]
    for prefix in side.source.parts:
        for known in real:
            found = find_copies(side.source.images(prefix), known.source.images())
            if found:
                pairs = [f"{name} shows {source} ({how})" for name, source, how in found]
                raise DataError(
                    where,
                    came=f"{len(found)} copies of real tiles: {_some(pairs)}",
                    allowed="tiles that are no copies",
                    do="Remove them; `crafts audit` shows each pair.",
                )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
