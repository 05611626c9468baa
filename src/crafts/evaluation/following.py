"""Do tiles follow their prompts? Rows of alignment, each with a control beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crafts.core.runtime import seed_from
from crafts.evaluation.compare import LEAST, Features
from crafts.evaluation.results import AlignmentRow, Measured
from crafts.measures.intervals import LEAST_GROUPS, group_interval
from crafts.measures.rows import unit_rows
from crafts.sets.described import Described, Sets, even
from crafts.sets.splits import Names, Rows, pick

AlignmentKey = Literal["generated", "shuffled", "heldout", "nearest"]
TITLES: dict[AlignmentKey, str] = {
    "generated": "generated tiles, own prompts",
    "shuffled": "generated tiles, each other's prompts (control)",
    "heldout": "held-out tiles, own captions",
    "nearest": "nearest training tiles, prompts of the generated (baseline)",
}
_NO_TEXT = "the encoder reads no text, or a tile has none"


@dataclass(frozen=True)
class Followers:
    """Tiles with the texts that they should follow, row for row.

    Attributes:
        images: unit features [N, D].
        texts: unit features [N, D], or None.
        wordings: the texts.
        classes: [N].
        groups: unit of the bootstrap [N].
        partners: rows of the held-out set to compare the images with [N], -1 for none.
        same_caption: whether that partner has the same caption [N].
    """

    images: Features
    texts: Features | None
    wordings: Names
    classes: Names
    groups: Names
    partners: Rows
    same_caption: NDArray[np.bool_]


@dataclass(frozen=True)
class ClassTexts:
    """Mean direction of the captions of each class.

    Attributes:
        names: [K].
        features: unit [K, D].
    """

    names: Names
    features: Features

    def scores(self, images: Features) -> Features:
        """Cosine of unit images [N, D] with every class [N, K]."""
        return np.asarray(images @ self.features.T)


def class_texts(sides: Sequence[Described]) -> ClassTexts | None:
    """The classes of real tiles in the encoder's text space; None without texts or classes."""
    known = [side for side in sides if side.set.texts is not None]
    if not known:
        return None
    texts = np.concatenate([unit_rows(np.asarray(side.set.texts)) for side in known])
    classes = np.concatenate([side.classes for side in known])
    names = np.array([name for name in np.unique(classes) if name], dtype=np.str_)
    if len(names) < 2:
        return None
    means = np.stack([texts[classes == name].mean(axis=0) for name in names])
    return ClassTexts(names, unit_rows(means))


def alignment_rows(sets: Sets, *, seed: int) -> list[AlignmentRow]:
    """Rows over all, then for each class with at least :data:`LEAST` tiles."""
    real = [side for side in (sets.heldout, sets.train) if side is not None]
    classes = class_texts(real)
    followers = _followers(sets, seed)
    images = unit_rows(sets.heldout.set.features)
    rows = [_row(key, one, images, classes, seed=seed) for key, one in followers.items()]
    names = sorted(set(sets.generated.classes.tolist()) - {""})
    for name in names:
        for key, one in followers.items():
            part = pick(one, one.classes == name)
            if len(part.images) >= LEAST:
                row = _row(key, part, images, classes, seed=seed)
                rows.append(row.model_copy(update={"scope": "class", "name": name}))
    return rows


def shuffle_texts(wordings: Names, seed: int) -> Rows:
    """Rows [N] whose texts go to other tiles; no tile keeps its wording where that is possible.

    Rows sorted by wording (in random order of wordings) are shifted by the number of the most
    frequent one: equal wordings are neighbours, hence none meets itself unless it fills over half.
    """
    names, number, counts = np.unique(wordings, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed_from("shuffled", seed))
    place = rng.permutation(len(names))[number]
    order = np.lexsort((rng.permutation(len(wordings)), place))
    shuffled = np.empty(len(wordings), dtype=np.int64)
    shuffled[order] = np.roll(order, int(counts.max()))
    return shuffled


def bootstrap_mean(values: NDArray[np.floating], groups: Names, *, seed: int) -> Measured:
    """Mean over tiles, with half the width of its 95 % interval over five groups or more.

    Args:
        values: of the tiles, [N].
        groups: patient of each tile, [N].
        seed: of the bootstrap.
    """
    if len(np.unique(groups)) < LEAST_GROUPS:
        return Measured(value=float(values.mean()))
    found = group_interval(values, groups.tolist(), seed=seed_from("bootstrap", seed))
    return Measured(value=found.mean, spread=(found.high - found.low) / 2, kind="groups")


def _followers(sets: Sets, seed: int) -> dict[AlignmentKey, Followers]:
    generated, heldout = sets.generated, sets.heldout
    own = _with_partners(generated, heldout, seed)
    images, held_texts = unit_rows(generated.set.features), heldout.set.texts
    texts = None if generated.set.texts is None else unit_rows(generated.set.texts)
    made = Followers(images, texts, *own)
    found: dict[AlignmentKey, Followers] = {"generated": made}
    if texts is not None and len(np.unique(made.wordings)) > 1:
        other = pick(made, shuffle_texts(made.wordings, seed))
        found["shuffled"] = replace(other, images=images, groups=made.groups)
    if len(heldout):
        held = None if held_texts is None else unit_rows(held_texts)
        found["heldout"] = Followers(
            unit_rows(heldout.set.features), held, *_with_partners(heldout, heldout, seed)
        )
    if sets.train is not None:
        bank = unit_rows(sets.train.set.features[sets.nearest])
        found["nearest"] = Followers(bank, texts, *own)
    return found


def _with_partners(
    side: Described, heldout: Described, seed: int
) -> tuple[Names, Names, Names, Rows, NDArray[np.bool_]]:
    """Wordings, classes, groups, and for each row a held-out tile of another group."""
    wordings = np.array([even(text) for text in side.texts], dtype=np.str_)
    same = side is heldout
    held = wordings if same else np.array([even(text) for text in heldout.texts], dtype=np.str_)
    rng = np.random.default_rng(seed_from("partners", seed))
    by_text, by_class = _rows_by(held), _rows_by(heldout.classes)
    partners = np.full(len(side), -1, dtype=np.int64)
    equal = np.zeros(len(side), dtype=bool)
    for row, (wording, name) in enumerate(zip(wordings, side.classes, strict=True)):
        for table, key in ((by_text, wording), (by_class, name)):
            options = table.get(str(key), np.empty(0, np.int64)) if key else np.empty(0, np.int64)
            if same:
                options = options[heldout.groups[options] != heldout.groups[row]]
            if len(options):
                partners[row] = rng.choice(options)
                equal[row] = table is by_text
                break
    return wordings, side.classes, side.groups if same else _prompts(wordings), partners, equal


def _prompts(wordings: Names) -> Names:
    """Generated tiles of one prompt are one group."""
    return wordings if (wordings != "").any() else np.arange(len(wordings)).astype(np.str_)


def _rows_by(values: Names) -> dict[str, Rows]:
    if not len(values):
        return {}
    order = np.argsort(values, kind="stable")
    names, start = np.unique(values[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, start[1:]), strict=True))


def _row(
    key: AlignmentKey, one: Followers, heldout: Features, classes: ClassTexts | None, *, seed: int
) -> AlignmentRow:
    prompt = Measured(why=_NO_TEXT)
    if one.texts is not None:
        cosine = 100 * (one.images * one.texts).sum(axis=1)
        prompt = bootstrap_mean(cosine, one.groups, seed=seed)
    agreement = Measured(why="the real tiles name fewer than two classes, or have no captions")
    known = np.isin(one.classes, classes.names) if classes else np.zeros(len(one.images), bool)
    if classes and known.any():
        best = classes.names[classes.scores(one.images[known]).argmax(axis=1)]
        right = 100.0 * (best == one.classes[known])
        agreement = bootstrap_mean(right, one.groups[known], seed=seed)
    image, share = Measured(why="no held-out tile of the same caption or class"), None
    paired = one.partners >= 0
    if paired.any():
        cosine = 100 * (one.images[paired] * heldout[one.partners[paired]]).sum(axis=1)
        image = bootstrap_mean(cosine, one.groups[paired], seed=seed)
        share = float(one.same_caption[paired].mean())
    return AlignmentRow(
        key=key, title=TITLES[key], n=len(one.images), prompt_alignment=prompt,
        image_alignment=image, same_caption=share, class_agreement=agreement,
    )  # fmt: skip
