"""What ``audit`` found: ``audit.json`` is a :class:`Results`, ``copies.csv`` holds a row a tile.

A row is a :class:`TileVerdict`.
The classes are the schema. ``version`` rises when a field changes its meaning or goes. NaN and
infinity are never written: a number that could not be had is ``null``.

A verdict is one of

=========  ================================================================================
copy       the structure of a training tile, whole or in part, lies in the generated tile
near       no such structure, but nearer to a training tile, in the features of the encoder,
           than real tiles of other patients are (about 1 real tile in 1,000 is marked so)
clear      neither
plain      too little structure to be judged (background, blur)
rejected   could not be opened
=========  ================================================================================

and a copy is of one of the kinds ``exact file``, ``exact pixels``, ``re-encoded`` (recompressed,
resized, blurred), ``restained``, ``turned`` (rotated or flipped), ``part`` (shifted or cropped).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from crafts.core.config import Config
from crafts.core.results import Number, ResultFile
from crafts.report.tables import Head
from crafts.sets.source import SetFacts

Word = Literal["copy", "near", "clear", "plain", "rejected"]
Kind = Literal["", "exact file", "exact pixels", "re-encoded", "restained", "turned", "part"]


_SOURCES = (
    ("heldout", "held-out tiles of this audit"),
    ("default", "default, set on other tiles"),
    ("given", "given by the user"),
)


class TileVerdict(Config):
    """What was found for one image.

    Attributes:
        name: of the image in its folder.
        verdict: see above.
        kind: of a copy.
        how: the transformation in words, e.g. ``rotated 90°, shifted by 128 px right``.
        source: the training tile whose structure is most alike; "" where none is.
        correlation: of the two structure maps where they overlap, -1 to 1.
        overlap: share of the image that lies on the training tile, 0 to 1.
        matrix: of the placement, row by row, and ...
        shift: ... place in the training tile = matrix @ place in the image + shift, as (row,
            column) from the centres, in units of the shorter side of each.
        votes: landmarks that agree on it; 0 where the tile as a whole led to it.
        neighbour: training tile that is nearest in the features.
        distance: to it, 1 - cosine.
        ratio: that distance over the one to the nearest held-out tile.
        authentic: farther from its neighbour than that is from other training tiles (Alaa et al.).
        text: prompt or caption.
        reason: of a rejection.
    """

    name: str
    verdict: Word
    kind: Kind = ""
    how: str = ""
    source: str = ""
    correlation: Number = None
    overlap: Number = None
    matrix: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    votes: int = 0
    neighbour: str = ""
    distance: Number = None
    ratio: Number = None
    authentic: bool | None = None
    text: str = ""
    reason: str = ""


class Share(Config):
    """A count out of a number, with the exact 95 % interval of Clopper and Pearson."""

    count: int
    of: int
    share: Number
    low: Number
    high: Number


class Threshold(Config):
    """A limit and where it comes from.

    Attributes:
        value: the limit.
        source: ``heldout`` (the 99.9 % quantile of held-out tiles against training tiles), or
            ``default`` (measured on other tiles; no held-out tiles were given, or too few).
        n: tiles it was measured on.
        quantile: what the held-out tiles alone would have given.
    """

    value: Annotated[float, Head("Threshold")]
    source: Annotated[Literal["heldout", "default", "given"], Head("Source", words=_SOURCES)]
    n: Annotated[int, Head("Tiles", dash=True)] = 0
    quantile: Annotated[Number, Head("Held-out alone", "99.9 % quantile")] = None


class Copies(Config):
    """The search for copies.

    Attributes:
        copies: share of the usable generated tiles that are copies.
        near: share that is near in the features only; None without held-out tiles.
        plain: tiles with too little structure to be judged.
        kinds: kind of copy -> tiles.
        correlation_threshold: above it a part of a tile is copied.
        whole_threshold: above it the whole tile is, where tiles lie edge on edge (chance reaches
            less far there).
        ratio_threshold: below it a tile is near; None without held-out tiles.
        heldout: the same search on the held-out tiles: tiles that share structure with training
            tiles. Each is either a false alarm or tissue that stands on both sides of the split.
        leaks: these held-out tiles, strongest first, up to 50.
    """

    copies: Share
    near: Share | None = None
    plain: int
    kinds: dict[str, int]
    correlation_threshold: Threshold
    whole_threshold: Threshold | None = None
    ratio_threshold: Threshold | None = None
    heldout: Share | None = None
    leaks: list[TileVerdict] = []


class Attack(Config):
    """One membership attack: can members (training tiles) be told from held-out ones?

    Attributes:
        name: ``loss`` (denoising loss of the model), ``features`` (distance to the nearest
            generated tile) or ``blind`` (contrast of the tile: the model has no part in it; what it
            reaches is due to the sets and no exposure).
        auc: area under the ROC curve, 0.5 is chance.
        auc_low, auc_high: 95 % interval, bootstrap over patients where they are named.
        tpr: share of members found at 1 % false positives.
        tpr_low, tpr_high: its interval.
        members, nonmembers: tiles of each.
        groups: patients drawn in the bootstrap; 0: tiles.
        matched: field whose values are equally frequent on both sides; "" for none.
    """

    name: Literal["loss", "features", "blind"]
    auc: Annotated[
        float, Head("AUC", "0.5 is chance", beside=("auc_low", "auc_high"), form="{} to {}")
    ]
    auc_low: float
    auc_high: float
    tpr: Annotated[
        float,
        Head(
            "Found at 1 % false positives",
            "1 % is chance",
            percent=True,
            beside=("tpr_low", "tpr_high"),
            form="{} to {}",
        ),
    ]
    tpr_low: float
    tpr_high: float
    members: Annotated[int, Head("Training tiles")]
    nonmembers: Annotated[int, Head("Held-out tiles")]
    groups: Annotated[int, Head("Patients drawn", dash=True)] = 0
    matched: str = ""


class Extracted(Config):
    """One caption from which training tiles were tried to be drawn.

    Attributes:
        text: the caption.
        repeats: training tiles that carry it.
        images: seeds tried.
        copies: of them that are copies of a training tile.
        clique: size of the largest group of seeds that are all alike (1: no two are).
        largest: the highest correlation with a training tile.
    """

    text: str
    repeats: Annotated[int, Head("Carried by", "training tiles")]
    images: Annotated[int, Head("Tries", "seeds")]
    copies: Annotated[int, Head("Copies", alarm=True)]
    clique: Annotated[int, Head("Alike", "largest group of seeds")]
    largest: Annotated[Number, Head("Highest likeness", "to a training tile")]


class Extraction(Config):
    """The attempt to draw training tiles from the model (Carlini et al. 2023).

    Attributes:
        copies: over all captions.
        captions: most repeated first.
        verdicts: of the drawn tiles that are copies; ``name`` is ``<caption number>-<seed>``.
    """

    copies: Share
    captions: list[Extracted]
    verdicts: list[TileVerdict] = []


class Results(ResultFile):
    """All of ``audit.json``.

    Attributes:
        version: of this schema.
        seed: of every draw.
        encoder: whose features were used.
        model: name and fingerprint of the model that was attacked; {} for none.
        sets: generated, train and, where given, heldout.
        copies: the search for copies.
        authenticity: share of authentic generated tiles (Alaa et al. 2022).
        authenticity_heldout: the same of real held-out tiles: what an honest generator reaches.
        membership: attacks; empty without held-out tiles.
        extraction: None without a model.
        fail_above: highest share of copies allowed; None: any.
        passed: the share of copies is not above it.
        notes: sentences that a reader must know.
    """

    version: Literal[1] = 1
    seed: int
    encoder: dict[str, Any]
    model: dict[str, Any] = {}
    sets: list[SetFacts]
    copies: Copies
    authenticity: Share
    authenticity_heldout: Share | None = None
    membership: list[Attack] = []
    extraction: Extraction | None = None
    fail_above: float | None = Field(default=None, ge=0, le=1)
    passed: bool = True
    notes: list[str] = []
