"""What a model was trained on, in lines and as prompts; reads its folder, and no weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crafts.captions.trained_on import FILE, TrainedOn, TrainedTiles, read_trained_on
from crafts.core.artifacts import MANIFEST, load_manifest
from crafts.core.errors import ConfigError, DataError
from crafts.model.files.places import MINI, is_shipped, resolve_model
from crafts.sampling.presets import PRESETS, SOLVERS, resolve_preset

MODELS = ("mini", *MINI)
"""Models of the package that make pictures of prompts: the newest, and each version."""

_INDEX = "model_index.json"


def describe_models() -> list[str]:
    """One line a model of the package."""
    lines = []
    for name in MODELS:
        folder = resolve_model(name)
        found = read_trained_on(folder)
        tiles = "says nothing of its training" if found is None else _size(found)
        lines.append(f"{name}: {tiles}; licence {_facts(folder).get('licence', 'unknown')}")
    return [*lines, "crafts models NAME|DIR says more of one"]


def describe_model(source: str) -> list[str]:
    """What the folder of a model says: licence, guidance, classes, sets and words with their tiles.

    Args:
        source: name of a model in the package, or a folder.

    Raises:
        ConfigError: there is no such model here.
        DataError: what it says is damaged.
    """
    folder = find_model(source)
    facts, found = _facts(folder), read_trained_on(folder)
    lines = [f"{source}: licence {facts.get('licence', 'unknown')}", _presets(facts)]
    if found is None:
        return [*lines, f"no {FILE} in it: what it was trained on is not known here"]
    lines.append(f"trained on {_size(found)}")
    lines += _table("class", found.classes())
    lines += _table("set", found.sets())
    counts = found.known_words().counts
    words = ", ".join(f"{word} {number}" for word, number in counts.items())
    return [*lines, "", f"{len(counts)} words of captions, with their tiles:", words]


def example_prompts(source: str) -> tuple[str, ...]:
    """A prompt for each class: the wording that most of its tiles share, or its name.

    A class without a common wording, whose name has words that the model does not know, has none.

    Raises:
        ConfigError: there is no such model here, or it names no classes.
    """
    found = read_trained_on(find_model(source))
    prompts = list(_prompts(found)) if found else []
    if not prompts:
        raise ConfigError(
            f"models {source}",
            came="a model that names no classes with a common caption",
            allowed=f"one whose {FILE} does",
            do="Write prompts of your own: crafts generate --prompt TEXT.",
        )
    return tuple(dict.fromkeys(prompts))


def describe_sampling(
    source: str, preset: str, *, num_steps: int | None = None, guidance_scale: float | None = None
) -> str:
    """What a preset comes to with a model and the user's wishes.

    Args:
        source: a model; of one that is not on this disk as a folder nothing is known.
        preset: name.
        num_steps: replaces the preset's.
        guidance_scale: replaces the model's and the preset's.
    """
    try:
        facts, known = _facts(find_model(source)), True
    except ConfigError:
        facts, known = {}, False
    chosen = resolve_preset(preset, num_steps=num_steps, guidance_scale=guidance_scale, extra=facts)
    whose = "tuned for the model" if facts.get("guidance") else "of the preset, not tuned"
    if guidance_scale is not None:
        whose = "as asked for"
    elif not known:
        whose = "of the preset, where the model says no other"
    return (
        f"{preset}: {SOLVERS[chosen.solver]}, {chosen.num_steps} steps, guidance "
        f"{chosen.guidance_scale:g} ({whose}); rows of a manifest may say otherwise"
    )


def find_model(source: str) -> Path:
    """The folder of a model on this disk; nothing is downloaded.

    Raises:
        ConfigError: there is none.
    """
    folder = resolve_model(source) if is_shipped(source) else Path(source)
    inside = folder / "model"
    for path in (folder, inside):
        if (path / _INDEX).is_file():
            return path
    raise ConfigError(
        f"models {source}",
        came=f"a folder without {_INDEX}" if folder.is_dir() else "no such folder",
        allowed=f"{', '.join(MODELS)}, or a folder in the layout of diffusers",
        do="Check the path.",
    )


def _prompts(found: TrainedOn) -> Iterator[str]:
    known = found.known_words()
    for name, share in found.classes().items():
        if share.prompt or not known.unknown(name):
            yield share.prompt or name


def _facts(folder: Path) -> Mapping[str, Any]:
    if not (folder / MANIFEST).is_file():
        return {}
    try:
        return load_manifest(folder).extra
    except DataError:  # what it says of its training may be whole; `generate` refuses the rest
        return {}


def _presets(facts: Mapping[str, Any]) -> str:
    how = "guidance tuned for it" if facts.get("guidance") else "guidance not tuned for it"
    found = ((name, resolve_preset(name, extra=facts)) for name in PRESETS)
    lines = (f"{n} {p.num_steps} steps, guidance {p.guidance_scale:g}" for n, p in found)
    return f"presets ({how}): {'; '.join(lines)}"


def _size(found: TrainedOn) -> str:
    tiles = sum(corpus.tiles for corpus in found.corpora.values())
    groups = sum(corpus.groups for corpus in found.corpora.values())
    classes = len(found.classes())
    return f"{tiles} tiles of {groups or 'no named'} patients or sources, {classes} classes"


def _table(what: str, shares: Mapping[str, TrainedTiles]) -> Iterator[str]:
    if not shares:
        return
    width = max(map(len, [what, *shares]))
    yield ""
    yield f"{what:{width}}  tiles  groups  licences"
    for name, share in sorted(shares.items(), key=lambda item: -item[1].tiles):
        licences = "; ".join(share.licences)
        yield f"{name:{width}}  {share.tiles:5}  {share.groups:6}  {licences}".rstrip()
