"""Are synthetic pairs of tile and mask worth anything to a segmenter of nuclei?

    python recipes/mini/compare_segmenters.py CONTROL PAIRS OUTPUT [--seeds 3] [--num 480]
    python recipes/mini/compare_segmenters.py CONTROL PAIRS OUTPUT --fast     # proves that it runs

CONTROL is ``OUTPUT/model`` of ``control-nuclei.yaml``; PAIRS is what ``collect_masks.py`` wrote.
From NUM training tiles of PAIRS two kinds of synthetic pairs are made: of the masks of the tiles,
and of invented masks (``synthetic_pairs.py``). ``segmenter.yaml`` is trained on each of ``ARMS``
with each seed, for as many steps, and tested on the held-out real tiles. OUTPUT gets
``segmenters.md``, ``segmenters.json`` and ``montage.png``, and what they come from:
``generated/``, ``pairs/`` and ``runs/ARM/seed-S/``. The same command goes on where it was
stopped; with more ``--seeds`` it adds to what is there.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from segmenter_results import Arm, Found, write_results
from synthetic_pairs import (
    FEW_DRAWS,
    INVENTED,
    MASKS,
    REAL,
    TABLE,
    Source,
    choose_sources,
    pair_rows,
    write_masks,
    write_requests,
    write_table,
)

import crafts
from crafts.core.artifacts import MANIFEST, lock, sha256_file, write_bytes
from crafts.core.config import Config, dump_config, load_config
from crafts.core.errors import ConfigError, DataError
from crafts.core.runtime import say
from crafts.data.listing.sources import list_items
from crafts.measures.faithfulness import (
    Pair,
    find_again,
    iter_pairs,
    list_pairs,
    measure_faithfulness,
)
from crafts.measures.nuclei import compare_masks, dice
from crafts.model.segmenter import Segmenter, load_segmenter, open_segmenter
from crafts.recipe import load_recipe

HERE = Path(__file__).parent
PLAN, SCORES = "plan.yaml", "scores.json"
FEW = "few"  # of the tiles that the seed draws
ARMS = (
    Arm("real", (REAL,), None),
    Arm("synthetic, real masks", (MASKS,), "real"),
    Arm("synthetic, invented masks", (INVENTED,), "real"),
    Arm("real + synthetic", (REAL, MASKS, INVENTED), "real"),
    Arm("few real", (FEW,), "real"),
    Arm("few real + synthetic", (FEW, INVENTED), "few real"),
)


class Plan(Config):
    """What decides the numbers; a folder that was begun with another plan is refused."""

    control: str = Field(description="sha256 of the ControlNet")
    model: str = Field("mini", description="the text-to-image model that the ControlNet steers")
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


FAST = {
    "fast": True,
    "num": 18,
    "sampler_steps": 3,
    "steps": 12,
    "most": 4,
    "judged": 12,
    "batch": 8,
}


@dataclass(frozen=True)
class Test:
    """A held-out real tile with its true mask."""

    pair: Pair
    set: str
    patient: str


def main(
    control: Path,
    pairs: Path,
    output: Path,
    *,
    plan: Plan,
    seeds: int,
    arms: Sequence[Arm] = ARMS,
) -> list[str]:
    """Make the pairs, train and test every arm with every seed, write the results.

    Returns:
        The verdicts.

    Raises:
        ConfigError: another plan was begun in ``output``, or CONTROL is no ControlNet.
        DataError: no training or held-out tile with a mask.
    """
    if not 2 <= seeds <= FEW_DRAWS:
        raise ConfigError("--seeds", came=str(seeds), allowed=f"2 to {FEW_DRAWS}", do="Choose one.")
    with lock(output):
        refuse_other_plan(plan, output)
        sources = choose_sources(pairs, plan.num)
        make_pairs(sources, control, output, plan)
        tests = open_tests(pairs, plan.most)
        found = Found(
            plan=plan.model_dump(mode="json"),
            arms=arms,
            runs=run_arms(arms, plan, tests, output, seeds=seeds),
            references={"shipped": score(open_segmenter("mini"), tests)},
            obedience=judge_pairs(output, tests, plan),
            sources=sources,
            drawn=share_of_crops(arms, output),
            tests={test.pair.name: (test.set, test.patient) for test in tests},
        )
        return write_results(found, output)


def refuse_other_plan(plan: Plan, output: Path) -> None:
    """Keep the plan in the folder; refuse a folder that has another, or files of others.

    Raises:
        ConfigError: names the first field that differs.
    """
    path = output / PLAN
    if not path.is_file():
        if [found for found in output.iterdir() if found.name != ".lock"]:
            raise ConfigError(
                str(output),
                came="files of something else",
                allowed="a new or empty folder, or one of this command",
                do="Choose another OUTPUT.",
            )
        write_bytes(path, dump_config(plan).encode())
        return
    begun = load_config(Plan, path).model_dump()
    for name, value in plan.model_dump().items():
        if begun[name] != value:
            raise ConfigError(
                f"{output}: {name}",
                came=str(value),
                allowed=f"{begun[name]}, with which this folder was begun",
                do="Restore it, or choose another OUTPUT.",
            )


def make_pairs(sources: Sequence[Source], control: Path, output: Path, plan: Plan) -> None:
    """``generated/``, then ``pairs/``: one folder of shards for all arms."""
    if (output / "pairs" / MANIFEST).is_file():
        return
    requests = output / "requests.csv"
    if not requests.is_file():  # written last
        write_masks(sources, output / "masks")
        write_requests(sources, output / "masks", requests)
    values: dict[str, Any] = {
        "manifest": requests,
        "model": plan.model,
        "preset": plan.preset,
        "num_steps": plan.sampler_steps,
        "controls": {"nuclei": str(control)},
    }
    crafts.generate(values, output / "generated")
    table = output / "table"
    rows = pair_rows(sources, output / "generated", table, few=plan.few)
    write_table(rows, TABLE, table / "metadata.csv")
    crafts.pack({"columns": {"key": "key", "outside": True}}, table, output / "pairs")


def run_arms(
    arms: Sequence[Arm], plan: Plan, tests: Sequence[Test], output: Path, *, seeds: int
) -> dict[str, list[dict[str, Any]]]:
    """Arm -> scores of each seed; seed by seed, so that what was stopped has whole comparisons."""
    runs: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in arms}
    for seed in range(seeds):
        for arm in arms:
            say(f"arm {arm.name!r}, seed {seed}")
            runs[arm.name].append(run_arm(arm, plan, tests, output, seed=seed))
    return runs


def run_arm(
    arm: Arm, plan: Plan, tests: Sequence[Test], output: Path, *, seed: int
) -> dict[str, Any]:
    """Train an arm with a seed and test it; what lies there is not made again."""
    folder = output / "runs" / "-".join(re.findall(r"\w+", arm.name)) / f"seed-{seed}"
    if (folder / SCORES).is_file():
        return dict(json.loads((folder / SCORES).read_text(encoding="utf-8")))
    kinds = [f"few-{seed}" if kind == FEW else kind for kind in arm.kinds]
    recipe = load_recipe(
        HERE / "segmenter.yaml",
        [
            f"data.folder={output / 'pairs'}",
            f"data.sets={json.dumps(sets_of(kinds, output))}",
            f"stage.crop={plan.crop}",
            f"global_batch_size={plan.batch}",
            f"num_steps={plan.steps}",
            f"checkpoint_every={plan.steps}",
            f"seed={seed}",
            "validate_every=0",
            "sample_every=0",
            "say_every=100",
        ],
    )
    crafts.train(recipe, folder)
    found = score(load_segmenter(folder / "model"), tests)
    write_bytes(folder / SCORES, json.dumps(found, indent=1).encode())
    return found


def sets_of(kinds: Sequence[str], output: Path) -> list[str]:
    """Values of the column ``set`` that belong to kinds."""
    return [name for name in count_sets(output) if name.split(" ", 1)[0] in kinds]


def count_sets(output: Path) -> dict[str, int]:
    """Tiles of each value of the column ``set``, in order."""
    counts: dict[str, int] = defaultdict(int)
    for item in list_items(output / "pairs"):
        counts[str(item.fields["set"])] += 1
    return dict(sorted(counts.items()))


def share_of_crops(arms: Sequence[Arm], output: Path) -> dict[str, dict[str, Any]]:
    """Arm -> tiles, and the share of its crops that come from real tiles, with the first seed."""
    counts = count_sets(output)
    power = load_recipe(HERE / "segmenter.yaml").data.balance
    told = {}
    for arm in arms:
        kinds = ["few-0" if kind == FEW else kind for kind in arm.kinds]
        sets = sets_of(kinds, output)
        weights = {name: counts[name] ** (1 - power) for name in sets}
        real = sum(w for name, w in weights.items() if name.startswith((REAL, FEW)))
        told[arm.name] = {
            "tiles": sum(counts[name] for name in sets),
            "real": real / sum(weights.values()),
        }
    return told


def open_tests(pairs: Path, most: int) -> list[Test]:
    """Held-out real tiles, at most so many of a set, evenly spread.

    Raises:
        DataError: there is none, or one cannot be used.
    """
    by_set = defaultdict(list)
    for item in list_pairs(pairs, "heldout"):
        by_set[str(item.fields["set"])].append(item)
    tests = []
    for name, items in sorted(by_set.items()):
        chosen = items[:: max(1, -(-len(items) // most))]
        for item, pair in zip(chosen, iter_pairs(chosen), strict=True):
            if isinstance(pair, str):
                raise DataError(
                    pair, came="no pair", allowed="an image and its mask", do="Mend it."
                )
            tests.append(Test(pair, name, str(item.fields["patient"])))
    if not tests:
        raise DataError(
            str(pairs),
            came="no held-out tile with a mask",
            allowed="rows of split 'heldout'",
            do="Collect the pairs with their splits.",
        )
    return tests


def score(segmenter: Segmenter, tests: Sequence[Test]) -> dict[str, Any]:
    """Scores of each set, and the mean Dice of the tiles of each patient."""
    found = find_again([test.pair for test in tests], segmenter)
    sets, patients = defaultdict(list), defaultdict(list)
    for place, test in enumerate(tests):
        sets[test.set].append(place)
        true = test.pair.mask.classes > 0
        if true.any():
            patients[test.patient].append(dice(found[place].classes > 0, true))
    scores = {
        name: compare_masks(
            [tests[k].pair.mask for k in places],
            [found[k] for k in places],
            classes=segmenter.network.config.classes,
        ).model_dump()
        for name, places in sets.items()
    }
    return {
        "sets": scores,
        "patients": {name: float(np.mean(values)) for name, values in patients.items()},
    }


def judge_pairs(output: Path, tests: Sequence[Test], plan: Plan) -> Mapping[str, Any]:
    """How far the synthetic pairs obey their masks, found with the shipped segmenter."""
    path = output / "obedience.json"
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    segmenter, told = open_segmenter("mini"), {}
    real = [test.pair for test in tests]
    items = list_pairs(output / "generated")
    for kind in (MASKS, INVENTED):
        mine = [item for item in items if str(item.fields["id"]).startswith(f"{kind}-")]
        chosen = mine[:: max(1, -(-len(mine) // plan.judged))]
        opened = [pair for pair in iter_pairs(chosen) if isinstance(pair, Pair)]
        told[kind] = measure_faithfulness(opened, segmenter, real=real).model_dump()
    write_bytes(path, json.dumps(told, indent=1).encode())
    return told


def network_of(control: Path) -> str:
    """Identity of the ControlNet.

    Raises:
        ConfigError: the folder holds none.
    """
    weights = control / "diffusion_pytorch_model.safetensors"
    if not weights.is_file():
        raise ConfigError(
            str(control),
            came="no ControlNet",
            allowed="the folder `model` of a run of control-nuclei.yaml",
            do="Train it, or correct the path.",
        )
    return sha256_file(weights)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("control", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="mini", help="that CONTROL steers")
    parser.add_argument("--seeds", type=int, default=0, help="3, or 2 with --fast")
    parser.add_argument("--num", type=int, help="real training tiles (480)")
    parser.add_argument("--few", type=float, help="share of them in `few real` (0.1)")
    parser.add_argument("--steps", type=int, help="of training (400)")
    parser.add_argument("--preset", help="of the sampler (fast)")
    parser.add_argument("--fast", action="store_true", help="minutes; the numbers say nothing")
    given = parser.parse_args()
    wishes: dict[str, Any] = dict(FAST) if given.fast else {}
    named = {name: getattr(given, name) for name in ("num", "few", "steps", "preset")}
    wishes |= {name: value for name, value in named.items() if value is not None}
    try:
        wanted = load_config(
            Plan, {"control": network_of(given.control), "model": given.model} | wishes
        )
        number = given.seeds or (2 if given.fast else 3)
        for line in main(given.control, given.pairs, given.output, plan=wanted, seeds=number):
            print(line)
    except crafts.core.errors.CraftsError as fault:
        raise SystemExit(str(fault)) from None
