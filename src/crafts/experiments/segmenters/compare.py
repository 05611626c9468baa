"""Segmenters trained on real pairs, on synthetic ones or on both, tested on real held-out tiles."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from crafts.controls.masks import load_tile_mask
from crafts.core.artifacts import MANIFEST, hold_to, lock, refuse_other_run, write_bytes
from crafts.core.config import Config, load_config, validate
from crafts.core.errors import DataError
from crafts.core.runtime import say
from crafts.data import pack
from crafts.data.loader import ShardReader
from crafts.experiments.segmenters.page import ARMS, Arm, Found, Test, write_results
from crafts.experiments.segmenters.pairs import (
    FEW,
    INVENTED,
    MASKS,
    Source,
    choose_sources,
    write_masks,
    write_pairs,
    write_requests,
)
from crafts.generation import generate
from crafts.generation.request import GenerateConfig
from crafts.measures.faithfulness import find_again, measure_faithfulness
from crafts.measures.nuclei import compare_masks, dice
from crafts.model.segmenter import Segmenter, load_segmenter, open_segmenter
from crafts.sets.masked import MaskedTile, iter_pairs, list_pairs
from crafts.training import train

NOTE, SCORES = "experiment.yaml", "scores.json"
FAST: Mapping[str, Any] = {
    "fast": True, "seeds": (0, 1), "num": 18, "sampler_steps": 3, "steps": 12, "most": 4,
    "judged": 12, "batch": 8,
}  # fmt: skip


class SegmentersConfig(Config):
    """What decides the numbers; a folder that was begun with another one is refused."""

    control: Path = Field(description="ControlNet for nuclei")
    pairs: Path = Field(description="tiles with masks, sets, patients and splits")
    recipe: Path = Field(description="of the segmenter")
    model: str = Field("mini", description="the text-to-image model that the ControlNet steers")
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=2, description="of every arm")
    num: int = Field(480, ge=1, description="real training tiles, and synthetic ones of each kind")
    few: float = Field(0.1, gt=0, le=1, description="share of the tiles of each set in `few real`")
    preset: str = Field("fast", description="of the sampler")
    sampler_steps: int | None = Field(None, ge=1, description="None: those of the preset")
    steps: int = Field(400, ge=1, description="of training, in every arm")
    batch: int = Field(16, ge=1, description="crops a step")
    crop: int = Field(96, ge=16, description="their edge in pixels")
    most: int = Field(1000, ge=1, description="held-out tiles of a set at most")
    judged: int = Field(120, ge=2, description="synthetic pairs of a kind whose obedience is told")
    fast: bool = Field(False, description="a trial of the machinery")


def compare_segmenters(
    control: Path,
    pairs: Path,
    recipe: Path,
    output: Path,
    fields: list[str] | None = None,
    fast: bool = False,
) -> str:
    """Make the pairs, train and test every arm with every seed, write the results.

    The same command goes on with a comparison that was stopped.

    Args:
        control: folder of the ControlNet.
        pairs: tiles with masks, sets, patients and splits.
        recipe: of the segmenter, recipes/mini/segmenter.yaml.
        output: gets ``segmenters.json``, ``segmenters.md`` and ``montage.png``.
        fields: of the configuration, as NAME=VALUE.
        fast: minutes; the numbers say nothing.

    Returns:
        The verdicts.
    """
    given = {"control": control, "pairs": pairs, "recipe": recipe, **(FAST if fast else {})}
    return run(load_config(SegmentersConfig, given, fields or ()), output)


def run(config: SegmentersConfig, output: Path, *, arms: Sequence[Arm] = ARMS) -> str:
    """:func:`compare_segmenters` of some arms.

    Raises:
        ConfigError: another comparison was begun in ``output``, or no ControlNet.
        DataError: no training or held-out tile with a mask.
    """
    refuse_other_run(output, "segmenters", begun=NOTE)
    with lock(output):
        hold_to(config, output / NOTE)
        sources, tests = choose_sources(config.pairs, config.num), open_tests(config)
        _make_pairs(sources, config, output)
        kinds = _sets_by_kind(output)
        runs: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in arms}
        for seed in config.seeds:  # seed by seed: what was stopped has whole comparisons
            for arm in arms:
                say(f"arm {arm.name!r}, seed {seed}")
                runs[arm.name].append(_run_arm(arm, config, tests, output, seed=seed, kinds=kinds))
        shipped, obedience = score(open_segmenter("mini"), tests), _obedience(config, tests, output)
        facts = config.model_dump(mode="json")
        return write_results(Found(facts, arms, runs, shipped, obedience, tests, sources), output)


def _make_pairs(sources: Sequence[Source], config: SegmentersConfig, output: Path) -> None:
    """``generated/``, then ``pairs/``: one folder of shards for all arms."""
    if (output / "pairs" / MANIFEST).is_file():
        return
    requests = output / "requests.csv"
    if not requests.is_file():  # written last
        write_masks(sources, output / "masks")
        write_requests(sources, output / "masks", requests)
    values = {
        "model": config.model,
        "preset": config.preset,
        "num_steps": config.sampler_steps,
        "controls": {"nuclei": str(config.control)},
    }
    generate.run(validate(GenerateConfig, values, "segmenters"), requests, output / "generated")
    write_pairs(sources, output, few=config.few, seeds=config.seeds)
    columns = {"columns": {"key": "key", "outside": True}}
    packing = validate(pack.PackConfig, columns, "segmenters")
    pack.run(packing, output / "table", output / "pairs", load_mask=load_tile_mask)


def _sets_by_kind(output: Path) -> dict[str, list[str]]:
    """Kind of pairs -> values of the column ``set``."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in sorted({str(row["set"]) for row in ShardReader(output / "pairs").rows}):
        kinds[name.split(" ", 1)[0]].append(name)
    return kinds


def _run_arm(
    arm: Arm,
    config: SegmentersConfig,
    tests: Sequence[Test],
    output: Path,
    *,
    seed: int,
    kinds: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Train an arm with a seed and test it; what lies there is not made again."""
    folder = output / "runs" / "-".join(re.findall(r"\w+", arm.name)) / f"seed-{seed}"
    if (folder / SCORES).is_file():
        return dict(json.loads((folder / SCORES).read_text(encoding="utf-8")))
    named = [f"{FEW}-{seed}" if kind == FEW else kind for kind in arm.kinds]
    values = {
        "data.folder": output / "pairs",
        "data.sets": json.dumps([name for kind in named for name in kinds[kind]]),
        "stage.crop": config.crop,
        "global_batch_size": config.batch,
        "num_steps": config.steps,
        "checkpoint_every": config.steps,
        "seed": seed,
        "validate_every": 0,
        "sample_every": 0,
        "say_every": 100,
    }
    overrides = [f"{name}={value}" for name, value in values.items()]
    train.run(load_config(train.TrainConfig, config.recipe, overrides), {}, folder)
    found = score(load_segmenter(folder / "model"), tests)
    write_bytes(folder / SCORES, json.dumps(found, indent=1).encode())
    return found


def open_tests(config: SegmentersConfig) -> list[Test]:
    """Held-out real tiles, at most so many of a set, evenly spread.

    Raises:
        DataError: there is none, or one cannot be used.
    """
    by_set = defaultdict(list)
    for item in list_pairs(config.pairs, "heldout"):
        by_set[str(item.fields["set"])].append(item)
    tests = []
    for name, items in sorted(by_set.items()):
        for pair in iter_pairs(items[:: max(1, -(-len(items) // config.most))]):
            if isinstance(pair, str):
                raise DataError(
                    pair, came="no pair", allowed="an image and its mask", do="Mend it."
                )
            tests.append(Test(pair, name))
    if not tests:
        raise DataError(
            str(config.pairs),
            came="no held-out tile with a mask",
            allowed="rows of split 'heldout'",
            do="Collect the pairs with their splits.",
        )
    return tests


def score(segmenter: Segmenter, tests: Sequence[Test]) -> dict[str, Any]:
    """Scores of each set, and the mean Dice of the tiles of each patient."""
    found = find_again([test.pair for test in tests], segmenter)
    sets: dict[str, list[int]] = defaultdict(list)
    patients: dict[str, list[float]] = defaultdict(list)
    for place, test in enumerate(tests):
        sets[test.set].append(place)
        true = test.pair.mask.classes > 0
        if true.any():
            patients[test.pair.patient].append(dice(found[place].classes > 0, true))
    classes = segmenter.network.config.classes
    scores = {}
    for name, places in sets.items():
        true_masks = [tests[k].pair.mask for k in places]
        result = compare_masks(true_masks, [found[k] for k in places], classes=classes)
        scores[name] = result.model_dump()
    means = {name: float(np.mean(values)) for name, values in patients.items()}
    return {"sets": scores, "patients": means}


def _obedience(config: SegmentersConfig, tests: Sequence[Test], output: Path) -> dict[str, Any]:
    """How far the synthetic pairs obey their masks, found with the shipped segmenter."""
    path = output / "obedience.json"
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    segmenter, measured = open_segmenter("mini"), {}
    items, real = list_pairs(output / "generated"), [test.pair for test in tests]
    for kind in (MASKS, INVENTED):
        mine = [item for item in items if str(item.fields["id"]).startswith(f"{kind}-")]
        chosen = mine[:: max(1, -(-len(mine) // config.judged))]
        opened = [pair for pair in iter_pairs(chosen) if isinstance(pair, MaskedTile)]
        measured[kind] = measure_faithfulness(opened, segmenter, real=real).model_dump()
    write_bytes(path, json.dumps(measured, indent=1).encode())
    return measured
