"""What a reader must know before the numbers: marks, loud where the numbers would mislead."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from crafts.evaluation.results import Mark, Results
from crafts.sets.described import Sets, same_fields, scale_of

_LEAST_GROUPS = 10


def find_marks(results: Results, sets: Sets, *, num_generations: int) -> list[Mark]:
    """All marks, loud ones first.

    Args:
        results: numbers so far.
        sets: what was compared.
        num_generations: generations among the generated tiles.
    """
    found = [
        *_prompts(results),
        *_statistics(results),
        *_sets(sets),
        *_scales(sets),
        *_numbers(results, sets, num_generations),
    ]
    return sorted(found, key=lambda mark: not mark.loud)


def _loud(code: str, text: str) -> Mark:
    return Mark(code=code, loud=True, text=text)


def _quiet(code: str, text: str) -> Mark:
    return Mark(code=code, loud=False, text=text)


def _prompts(results: Results) -> Iterator[Mark]:
    source = results.prompts
    total = source.heldout + source.both + source.train + source.neither + source.empty
    if source.train:
        unseen = "(those of held-out tiles are not known)" if results.statistics else ""
        yield _loud(
            "training_prompts",
            f"{source.train} of {total} prompts are captions of training tiles "
            f"{unseen or 'and of no held-out tile'}: the model may answer these from memory, which "
            "flatters every number.",
        )
    if source.both:
        yield _quiet(
            "shared_prompts",
            f"{source.both} of {total} prompts are captions of held-out tiles and, word for "
            "word, of training tiles too.",
        )
    if not source.checked:
        yield _loud(
            "prompts_not_checked",
            "Without --train it is not known whether the prompts are training captions, "
            "whether tiles are copies, and how far a model that only copies would come.",
        )
    if source.empty:
        yield Mark(
            code="no_prompts",
            loud=source.empty == total,
            text=f"{source.empty} of {total} generated tiles name no prompt.",
        )


def _statistics(results: Results) -> Iterator[Mark]:
    known = results.statistics
    if not known:
        return
    number = known["num_images"]
    yield _loud(
        "statistics",
        f"A file of statistics ({known['file']}, of "
        f"{'an unknown number of' if number is None else format(number, ',')} tiles, split "
        f"{known['split']}) stands in for held-out tiles: there is no floor of real against real "
        "patients, no row for a class or a slice, no stain report, no diagnosis and no picture of "
        "real tiles. Whether patients of it were trained on cannot be seen.",
    )
    yield _quiet(
        "unequal_numbers",
        f"Fréchet distances compare {results.n:,} tiles with the statistics of all others; "
        f"measures from single features take the {known['kept_features']:,} that the file keeps, "
        "at most, and as many of the tiles.",
    )


def _scales(sets: Sets) -> Iterator[Mark]:
    made = scale_of(sets.generated)
    words = {"heldout": "held-out", "train": "training"}
    real = {words[name]: scale_of(side) for name, side in sets.named().items() if name in words}
    differ = {word: one for word, one in real.items() if one and not same_fields(made, one)}
    if made is None or not differ:
        return
    known = made.mpp and all(one.mpp for one in differ.values())
    cut = "Cut all to one scale and size"
    do = cut if known else f"Add the column mpp to all, or {cut.lower()}"
    yield _loud(
        "scales_differ",
        f"Generated tiles have {made.words}, "
        + ", ".join(f"{word} tiles {one.words}" for word, one in differ.items())
        + ": as far as is known they show fields of different size, the encoder sees them at "
        f"different scales, and every distance holds that too. {do}; evaluate resizes no tiles.",
    )


def _sets(sets: Sets) -> Iterator[Mark]:
    hashes = {str(row["sha256"]) for row in sets.generated.set.rows}
    for name, side in sets.named().items():
        same = len({str(row["sha256"]) for row in side.set.rows} & hashes)
        if name != "generated" and same:
            yield _loud(
                f"same_files_{name}",
                f"{same} generated files are, byte for byte, files of the {name} set: copies, "
                "or the wrong folder.",
            )
    rows = sets.generated.set.rows
    if not any("seed" in row or "generation" in row for row in rows):
        yield _quiet(
            "origin_unknown",
            "The generated tiles do not say how they were made (no column `seed`): make sure "
            "that the folders are not swapped.",
        )
    if len(sets.heldout) and not sets.heldout.named_groups:
        yield _loud(
            "no_groups",
            "The held-out tiles do not name their patients (column `patient`): halves are "
            "split by tile, patients stand on both sides, and the floor is too low.",
        )
    elif 0 < (groups := len(np.unique(sets.heldout.groups))) < _LEAST_GROUPS:
        yield _loud(
            "few_groups",
            f"The held-out tiles come from {groups} patients: another choice of patients "
            "may change every number.",
        )
    if sets.train is not None and not sets.train.named_groups:
        yield _loud(
            "train_groups_unknown",
            "The training tiles do not name their patients: only equal files could be looked "
            "for in both real sets.",
        )


def _numbers(results: Results, sets: Sets, num_generations: int) -> Iterator[Mark]:
    if results.lead == "kernel_distance":
        yield _quiet(
            "few_images",
            f"{results.n} images on each side are fewer than twice the width of the features "
            f"({results.width}): the Fréchet distance would measure noise and is left out; the "
            "kernel distance leads.",
        )
    if results.repetition != "generations":
        instead = (
            f"for {results.repetitions} repetitions: the spread is over draws of the held-out "
            "groups, with the same generated tiles"
            if results.repetition == "halvings"
            else "for a spread"
        )
        yield _quiet(
            "no_generations",
            f"{num_generations} generation(s) are too few, or too small, {instead}. "
            "The spread over generations is not known.",
        )
    unknown = int((sets.generated.classes == "").sum())
    if results.matching == "none" and unknown < len(sets.generated):
        yield _loud(
            "classes_not_matched",
            f"The class of {unknown} of {len(sets.generated)} generated tiles is not known "
            "(neither a column `label` nor a caption of real tiles): the sets may differ in their "
            "mix of classes, and distances over all hold that too.",
        )
    if "" in results.left_out or results.matching == "class":
        names = [name for name in results.left_out if ": " not in name and name]
        if names:
            yield _quiet(
                "classes_left_out",
                f"No row over all holds these classes, too rare on one side: {', '.join(names)}.",
            )
