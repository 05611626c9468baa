"""What ``evaluate`` found: ``metrics.json`` (numbers) and ``features/map.json`` (what to show).

Both are written from the classes here, so that the classes are the schema. ``version`` rises when a
field changes its meaning or goes. NaN and infinity are never written: a number that could not be
had is ``null``, and ``why`` beside it says why.

``metrics.json`` is a :class:`Results`. Its ``rows`` hold every comparison of two sets:

=============  ===============================  ======================================
key            compared                         with (reference)
=============  ===============================  ======================================
heldout        generated                        tiles of held-out groups
floor          tiles of other held-out groups   tiles of held-out groups
nearest        nearest training tiles           tiles of held-out groups
train          generated                        tiles of training groups
heldout_train  tiles of held-out groups         tiles of training groups
=============  ===============================  ======================================

``nearest``, ``train`` and ``heldout_train`` need a training set. Rows with ``scope == "all"`` come
first, then the same rows for each class (``scope == "class"``, ``name`` the class) and for each
value of a slice (``scope`` the field, such as ``power``). All rows of one scope and name have one N
on both sides. ``alignment`` rows have one set each, so that their N may differ: ``generated``,
``shuffled`` (generated tiles with each other's prompts), ``heldout``, ``nearest`` (nearest training
tiles with the prompts of the generated).

``features/map.json`` is a :class:`Gallery`: names of tiles to show, and a map to draw. A tile is
named by its set (``generated``, ``heldout``, ``train``) and its name there; the stage hands the
report a function that opens it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from crafts.core.config import Config
from crafts.core.results import Number, ResultFile
from crafts.measures.faithfulness import Faithfulness
from crafts.report.tables import Head
from crafts.sets.described import PromptSource
from crafts.sets.source import SetFacts, SetName

_DENSITY = "mean density ± between tiles"


class Measured(Config):
    """One number.

    Attributes:
        value: mean over the repetitions; None where it could not be had.
        spread: standard deviation over the repetitions (see ``Results.repetition``), or half the
            width of a 95 % bootstrap interval over groups where ``kind`` says so.
        kind: what ``spread`` is.
        why: reason of a missing value.
    """

    value: Number = None
    spread: Number = None
    kind: Literal["generations", "halvings", "groups", "none"] = "none"
    why: str = ""


class Separated(Measured):
    """A silhouette in percent, with that of each class and the floor (mean of shuffled labels)."""

    per_class: dict[str, Number] = {}
    floor: Number = None


class ComparedSet(SetFacts):
    """One set of images, and which they are.

    Attributes:
        fingerprint: sha256 over the sorted sha256 of its usable images.
        classes: class -> images; "" counts those without a class.
        truncated: share of the texts that the encoder cuts.
    """

    fingerprint: str
    classes: dict[str, int] = {}
    truncated: Number = None


class Comparison(Config):
    """One comparison of two sets of equal size.

    Attributes:
        key: heldout, floor, nearest, train or heldout_train.
        title: for people.
        scope: all, class, or the field of a slice.
        name: the class or the value of the slice; "" for all.
        n: images on each side.
        groups: groups on the side of the reference, 0 when none are named.
        measures: by name: frechet_distance, frechet_normalised, frechet_infinity, kernel_distance,
            cmmd, precision_k3, recall_k3, density_k3, coverage_k3, the same with k5, vendi
            (of the compared set), vendi_reference.
    """

    key: Literal["heldout", "floor", "nearest", "train", "heldout_train"]
    title: str
    scope: str = "all"
    name: str = ""
    n: int
    groups: int = 0
    measures: dict[str, Measured]


class AlignmentRow(Config):
    """How well tiles follow their prompts (mean cosines in percent).

    Attributes:
        key: generated, shuffled, heldout or nearest.
        title: for people.
        scope: all or class.
        name: the class.
        n: tiles.
        prompt_alignment: of each tile with its own text, with its interval (None without texts).
        image_alignment: of each tile with a held-out tile of another group that has the same
            caption, or else the same class, with its interval.
        same_caption: share of these pairs, 0 to 1, that have the same caption.
        class_agreement: share, in percent, whose nearest class text is that of their own class.
    """

    key: Literal["generated", "shuffled", "heldout", "nearest"]
    title: str
    scope: str = "all"
    name: str = ""
    n: Annotated[int, Head("Tiles", "N")]
    prompt_alignment: Annotated[Measured, Head("Prompt alignment", "%")]
    image_alignment: Measured = Measured()
    same_caption: Number = None
    class_agreement: Annotated[Measured, Head("Class agreement", "%")] = Measured()


class Generation(Config):
    """The same measures for one generation.

    Attributes:
        name: number or folder.
        n: its images.
        measures: against held-out tiles, and its prompt_alignment.
    """

    name: str
    n: int
    measures: dict[str, Measured]


class StainRow(Config):
    """Optical densities of haematoxylin and eosin in one set or class of it.

    Attributes:
        set: of the tiles.
        name: class, "" for all.
        n: tiles looked at (a seeded sample).
        haematoxylin, eosin: mean over tiles of a tile's mean density.
        haematoxylin_sd, eosin_sd: standard deviation over tiles.
        outside: share of tiles outside the central 98 % of the held-out tiles, in H or E.
        outside_expected: what that share is among held-out tiles themselves.
    """

    set: SetName
    name: str = ""
    n: Annotated[int, Head("Tiles", "looked at")]
    haematoxylin: Annotated[Number, Head("Haematoxylin", _DENSITY, beside=("haematoxylin_sd",))]
    haematoxylin_sd: Number
    eosin: Annotated[Number, Head("Eosin", _DENSITY, beside=("eosin_sd",))]
    eosin_sd: Number
    outside: Annotated[
        Number,
        Head(
            "Outside",
            "share beyond what held-out tiles show",
            percent=True,
            beside=("outside_expected",),
            form="expected {}",
        ),
    ] = None
    outside_expected: Number = None


class StructureRow(Config):
    """Glands and their lumens in one set or class of it (:mod:`crafts.measures.glands`).

    Attributes:
        set, name, n: as in :class:`StainRow`.
        glands: share of tiles that show a gland, 0 to 1.
        lumens: mean number of lumens of glands in a tile.
        lumen_share: mean share of a tile's area that they take, 0 to 1.
    """

    set: SetName
    name: str = ""
    n: Annotated[int, Head("Tiles", "looked at")]
    glands: Annotated[Number, Head("With a gland", "share of the tiles", percent=True)]
    lumens: Annotated[Number, Head("Lumens", "a tile")]
    lumen_share: Annotated[Number, Head("Area of lumens", "share of a tile", percent=True)]


class Mark(Config):
    """Something that a reader of the numbers must know.

    Attributes:
        code: stable name, such as ``training_prompts`` or ``few_images``.
        loud: to be printed big.
        text: one or two sentences.
    """

    code: str
    loud: bool
    text: str


class GateYield(Config):
    """What the quality gate let pass; kept + refused = listed.

    Attributes:
        listed, kept, refused: images.
        classes: class -> {listed, kept}.
        reasons: name of the first check that refused -> images; "unreadable" among them.
        real_pass: share of held-out tiles, of groups that set no threshold, that pass.
    """

    listed: int
    kept: int
    refused: int
    classes: dict[str, dict[str, int]] = {}
    reasons: dict[str, int] = {}
    real_pass: Number = None


class Diagnosed(Config):
    """Whether the causes of failure were looked for; without alarm ``diagnosis`` is then empty.

    Attributes:
        done: they were, in so many of the ``generated`` and ``heldout`` tiles (seeded samples).
        detail: blur and block edges were judged too, which needs both sets at one scale.
        why: reason of what was not done.
        hidden: causes that so few tiles and groups could not show at their thresholds.
    """

    done: bool = False
    generated: int = 0
    heldout: int = 0
    detail: bool = False
    why: str = ""
    hidden: list[str] = []


class StainCluster(Config):
    """Tiles of one look: a cluster of the held-out tiles by their densities of both stains.

    Attributes:
        name: also of its rows in the scope ``stain_cluster``; then its centre.
        shares: set -> share of the looked-at tiles that are nearest to this centre.
    """

    name: str
    haematoxylin: float
    eosin: float
    shares: dict[SetName, float]


class Results(ResultFile):
    """All of ``metrics.json``.

    Attributes:
        version: of this schema.
        lead: the distance to look at first: frechet_distance, or kernel_distance where N is below
            twice the width of the features.
        n: images on each side in the rows over all.
        width: of the features.
        seed: of every draw.
        repetitions: how often sets were drawn.
        repetition: what differs between repetitions: "generations" (k-th image of each prompt,
            against a new halving of the held-out groups), "halvings" (the same generated images,
            new halvings and subsamples: the spread over generations is then unknown) or "none"
            (one generation against reference statistics: no spread at all).
        matching: "class" when all sides have the class mix of the generated tiles, else "none".
        left_out: classes that stand in no row over all, with the reason.
        separation: silhouette in percent by set and space, e.g. ``{"generated": {"embedding":
            ...}}``.
        statistics: origin of the reference statistics that stood in for held-out tiles (file,
            sha256, num_images, encoder, split, prompts, images_sha256, kept_features); {} for none.
        structure: glands in every set, then in its classes.
        stain_clusters: of the held-out tiles, where no column names their stain.
        faithfulness: whether images obey the masks beside them; None where they have none.
        diagnosis: findings, the heaviest first (:mod:`crafts.evaluation.diagnosis.causes`).
    """

    version: Literal[1] = 1
    lead: Literal["frechet_distance", "kernel_distance"]
    n: int
    width: int
    seed: int
    repetitions: int
    repetition: Literal["generations", "halvings", "none"]
    matching: Literal["class", "none"]
    left_out: dict[str, str] = {}
    encoder: dict[str, Any]
    sets: list[ComparedSet]
    prompts: PromptSource
    marks: list[Mark] = []
    rows: list[Comparison]
    alignment: list[AlignmentRow] = []
    separation: dict[SetName, dict[str, Separated]] = {}
    generations: list[Generation] = []
    stains: list[StainRow] = []
    structure: list[StructureRow] = []
    stain_clusters: list[StainCluster] = []
    statistics: dict[str, Any] = {}
    gate: GateYield | None = None
    faithfulness: Faithfulness | None = None
    diagnosed: Diagnosed = Diagnosed()
    diagnosis: list[dict[str, Any]] = []


class Pick(Config):
    """A generated tile to show.

    Attributes:
        name: in the generated set.
        text: its prompt.
        alignment: cosine with its prompt, in percent.
    """

    name: str
    text: str
    alignment: Number


class ClassPicks(Config):
    """Tiles of one class ("" when classes are not known), by alignment with their prompts.

    Attributes:
        name: the class.
        best, median, worst: up to 6 each, never one tile twice where there are enough.
        real: names of held-out tiles of the class, to be shown beside.
    """

    name: str
    best: list[Pick] = []
    median: list[Pick] = []
    worst: list[Pick] = []
    real: list[str] = []


class NearestPair(Config):
    """A generated tile and the training tile nearest to it."""

    generated: str
    train: str
    cosine: float
    text: str = ""


class Point(Config):
    """One tile on the t-SNE map."""

    set: SetName
    name: str
    label: str = ""
    x: float
    y: float


class Gallery(ResultFile):
    """All of ``features/map.json``.

    Attributes:
        picks: by class, in the order of their names.
        nearest: the pairs with the highest cosine first, up to 24.
        points: the map: a sample of generated and held-out tiles, stratified by class.
        map_settings: of the t-SNE.
    """

    version: Literal[1] = 1
    picks: list[ClassPicks] = []
    nearest: list[NearestPair] = []
    points: list[Point] = []
    map_settings: dict[str, Any] = {}
