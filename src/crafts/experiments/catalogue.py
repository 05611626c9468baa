"""The experiments as data: a question, arms that differ in one thing, and what judges them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from crafts.core.errors import ConfigError
from crafts.experiments.settings import ExperimentConfig

CLASSES = "CLASSES"
"""Stands in a recipe for the file of the data's own classes, which the run writes."""


@dataclass(frozen=True)
class Leg:
    """One stretch of an arm's training.

    Attributes:
        view: what the training rows say, see :func:`crafts.experiments.corpus.views.view_rows`.
        share: of the arm's steps.
        begins: share of the arm's steps that legs before it have.
        changes: fields of the recipe by dotted path.
    """

    view: str = "clean"
    share: float = 1.0
    changes: Mapping[str, Any] = field(default_factory=dict)
    begins: float = 0.0


@dataclass(frozen=True)
class Arm:
    """One way to train, or to sample.

    Attributes:
        name: short.
        says: what it does, in a few words.
        legs: stretches of training, one after the other; shares add up to 1. Without any the
            shared checkpoint makes its images.
        text: text encoder that conditions, see :func:`crafts.experiments.arms.starts.with_text`.
        prompts: view whose texts are its prompts.
        guidance: its guidance scale; None: that of the configuration.
        levels: of the factors of a screening design, 1 or -1; none outside of one.
    """

    name: str
    says: str
    legs: tuple[Leg, ...] = (Leg(),)
    text: str = "own"
    prompts: str = "clean"
    guidance: float | None = None
    levels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """A question and how it is answered.

    Attributes:
        question: in one sentence.
        arms: the first is the baseline.
        judged_by: measures that the verdict rests on; the others are shown beside.
        base_legs: training of the shared checkpoint.
        only_left_out: whether prompts are of the classes that were left out.
        with_cost: whether memory and time of a step are measured.
        also: further comparisons, an arm and the one that it is compared with.
        split: whose patients judge, where the data has it.
    """

    question: str
    arms: tuple[Arm, ...]
    judged_by: tuple[str, ...] = ("kernel_distance", "class_agreement")
    base_legs: tuple[Leg, ...] = (Leg(changes={"stage.caption_dropout": 1.0}),)
    only_left_out: bool = False
    with_cost: bool = False
    also: tuple[tuple[str, str], ...] = ()
    split: str = "heldout"

    @property
    def trains(self) -> bool:
        """Whether any arm is trained."""
        return any(arm.legs for arm in self.arms)

    @property
    def baseline(self) -> Arm:
        """What the other arms are compared with."""
        return self.arms[0]


def load_experiment(config: ExperimentConfig) -> Experiment:
    """The experiment that a configuration names, with the arms that it wants.

    Raises:
        ConfigError: an arm that the experiment does not have.
    """
    built = _BUILDERS[config.name](config)
    names = [arm.name for arm in built.arms]
    unknown = [name for name in config.arms if name not in names]
    if unknown:
        raise ConfigError(
            "experiment: arms",
            came=repr(unknown[0]),
            allowed=", ".join(names),
            do="Name arms of this experiment.",
        )
    arms = [arm for arm in built.arms[1:] if not config.arms or arm.name in config.arms]
    kept = {built.baseline.name, *(arm.name for arm in arms)}
    also = tuple(pair for pair in built.also if kept.issuperset(pair))
    return Experiment(**{**vars(built), "arms": (built.arms[0], *arms), "also": also})


def _objective(config: ExperimentConfig, *losses: str, centred: bool = False) -> dict[str, Any]:
    """Changes of a recipe that switch CRAFTS losses on, at one share of the gradient's norm."""
    changes: dict[str, Any] = {f"stage.weights.{loss}": 1.0 for loss in losses}
    share = config.strength
    changes["stage.strength"] = {"kind": "ratio", "semantic": share, "category": share}
    changes["data.spread_groups"] = True
    if "category" in losses:
        changes["stage.category.classes"] = CLASSES
    if centred:
        changes |= {
            "stage.relations.centre": True,
            "stage.relations.noise": "cap",
            "stage.text_relations.centre": True,
            "stage.category.weights": "centred",
        }
    return changes


def _plain() -> dict[str, Any]:
    """The same order of the data as the arms with the CRAFTS losses have."""
    return {"data.spread_groups": True}


def _losses(config: ExperimentConfig) -> Experiment:
    both = ("semantic", "category")
    return Experiment(
        question="Do the semantic consistency and the category guidance loss help?",
        arms=(
            Arm("none", "denoising loss only", (Leg(changes=_plain()),)),
            Arm("semc", "with L_semc", (Leg(changes=_objective(config, "semantic")),)),
            Arm("catg", "with L_catg", (Leg(changes=_objective(config, "category")),)),
            Arm("both", "with both, as the paper has them",
                (Leg(changes=_objective(config, *both)),)),
            Arm("both-centred", "with both, centred, noisy timesteps left out",
                (Leg(changes=_objective(config, *both, centred=True)),)),
        ),
    )  # fmt: skip


def _ood(config: ExperimentConfig) -> Experiment:
    def second(*losses: str, centred: bool = False) -> tuple[Leg, ...]:
        changes = _objective(config, *losses, centred=centred) if losses else _plain()
        return (Leg("seen", changes=changes),)

    both = ("semantic", "category")
    return Experiment(
        question="Are classes that the second stage left out made from what the first one knew?",
        arms=(
            Arm("none", "second stage without them, denoising loss only", second()),
            Arm("semc", "without them, with L_semc", second("semantic")),
            Arm("catg", "without them, with L_catg", second("category")),
            Arm("both", "without them, with both", second(*both)),
            Arm("all-classes", "second stage with them: the ceiling", (Leg(changes=_plain()),)),
        ),
        base_legs=(
            Leg(changes={"stage.caption_dropout": 1.0}),
            Leg("figures"),
        ),
        only_left_out=True,
    )


def _label_noise(config: ExperimentConfig) -> Experiment:
    both = ("semantic", "category")
    return Experiment(
        question="How much do wrong labels cost, and do the losses soften it?",
        arms=(
            Arm("flipped", "a share of wrong labels and captions, denoising loss only",
                (Leg("flipped", changes=_plain()),)),
            Arm("flipped-both", "the same with both losses",
                (Leg("flipped", changes=_objective(config, *both)),)),
            Arm("clean", "right labels, denoising loss only", (Leg(changes=_plain()),)),
            Arm("clean-both", "right labels with both losses",
                (Leg(changes=_objective(config, *both)),)),
        ),
        also=(("clean-both", "clean"),),
    )  # fmt: skip


def _stages(config: ExperimentConfig) -> Experiment:
    both = ("semantic", "category")
    first = _objective(config, "semantic")
    second = _objective(config, *both)
    return Experiment(
        question="Does a first stage on noisy captions help the second one?",
        arms=(
            Arm("second", "labelled tiles only, L_semc and L_catg", (Leg(changes=second),)),
            Arm("first", "noisy captions and degraded images only, L_semc",
                (Leg("figures", changes=first),)),
            Arm("both", "half of the steps each, one after the other, each with its own warm-up",
                (Leg("figures", 0.5, first), Leg("clean", 0.5, second, 0.5))),
        ),
    )  # fmt: skip


def _caption_length(config: ExperimentConfig) -> Experiment:
    view, says = "summary", "summaries of at most"
    if config.whole_reports:
        view, says = "whole", "summaries, filled up with the report's words on the patient, of"
    arms = tuple(
        Arm(
            f"{tokens} tokens",
            f"{says} {tokens} tokens, padded to the longest of a batch",
            (Leg(f"{view}:{tokens}", changes={"stage.max_tokens": tokens}),),
            prompts=f"{view}:{tokens}",
        )
        for tokens in (35, 20, 50, 154)
    )
    return Experiment(
        question="What does a longer summary of the report buy, and what does it cost?",
        arms=arms,
        with_cost=True,
    )


def _text_encoder(config: ExperimentConfig) -> Experiment:
    return Experiment(
        question="What must the text encoder know?",
        arms=(
            Arm("own", "text half of the CLIP that comes with the model"),
            Arm("second", "text half of a CLIP trained here from other random weights",
                text="second"),
            Arm("bag", "bag of words: token embeddings without order or context", text="bag"),
            Arm("untrained", "an encoder with random weights: the floor", text="untrained"),
        ),
    )  # fmt: skip


def _content(config: ExperimentConfig) -> Experiment:
    def without(name: str, says: str) -> Arm:
        view = f"without:{name}"
        return Arm(f"no {name}" if name else "all fields", says, (Leg(view),), prompts=view)

    return Experiment(
        question="Which field of the caption matters?",
        arms=(
            without("", "captions composed from all known fields"),
            without("organ", "the organ is never said"),
            without("diagnosis", "diagnosis and tissue are never said"),
            without("cells", "cells and other findings are never said"),
            without("power", "low, medium or high power is never said"),
            without("stain", "the stain is never said"),
        ),
    )


def _guidance(config: ExperimentConfig) -> Experiment:
    """Chosen on validation patients, so that the held-out ones stay unseen."""
    scales = (1.0, 1.5, 2.0, 2.5, 3.5, 5.0)
    arms = (Arm(f"{s:g}", f"guidance scale {s:g}", legs=(), guidance=s) for s in scales)
    return Experiment(
        question="Which guidance scale suits a finished model?",
        arms=tuple(arms),
        judged_by=("kernel_distance", "class_agreement", "grey_accuracy"),
        base_legs=(),
        split="validation",
    )


QUEUE = 448  # with 64 of a step each is compared with 512, in all runs of `screening`
FACTORS: Mapping[str, tuple[tuple[str, Mapping[str, Any]], tuple[str, Mapping[str, Any]]]] = {
    "place": (
        ("x0", {"stage.relations.pool": "flatten"}),
        ("middle", {"stage.relations.pool": "midblock", "stage.relations.projector": 64}),
    ),
    "relations": (
        ("text", {"stage.text_relations.of": "text"}),
        ("image", {"stage.text_relations.of": "image"}),
    ),
    "form": (
        ("literal", {}),
        ("centred", {"stage.relations.centre": True, "stage.text_relations.centre": True}),
    ),
    "timesteps": (
        ("clean", {"stage.relations.noise": "cap"}),
        ("noisy", {"stage.relations.noise": "floor"}),
    ),
    "strength": (
        ("0.01", {"stage.strength.semantic": 0.01}),
        ("0.1", {"stage.strength.semantic": 0.1}),
    ),
}
"""Factors of `screening`: each with its low and its high level, and what a recipe says of it."""


def _screening(config: ExperimentConfig) -> Experiment:
    """A fraction of a factorial design: 2^(5-2) runs of resolution III.

    Timesteps = place x relations, strength = place x form (Box, Hunter and Hunter, "Statistics for
    Experimenters"), so that what looks like one factor may be two others together.
    """
    arms = [Arm("none", "denoising loss only", (Leg(changes=_plain()),))]
    for place, relations, form in product((-1, 1), repeat=3):
        levels = dict(
            zip(FACTORS, (place, relations, form, place * relations, place * form), strict=True)
        )
        changes = _objective(config, "semantic") | {"stage.text_relations.encoder": config.encoder}
        changes["stage.strength"] = {"kind": "ratio"}
        changes["stage.relations.queue"] = QUEUE
        told = []
        for name, level in levels.items():
            said, own = FACTORS[name][level > 0]
            changes |= own
            told.append(said)
        says = "L_semc: " + ", ".join(told)
        arms.append(Arm(f"run {len(arms)}", says, (Leg(changes=changes),), levels=levels))
    return Experiment(
        question="Which choices left open by L_semc are worth full runs?", arms=tuple(arms)
    )


_BUILDERS = {
    "screening": _screening,
    "losses": _losses,
    "ood": _ood,
    "label-noise": _label_noise,
    "stages": _stages,
    "caption-length": _caption_length,
    "text-encoder": _text_encoder,
    "content": _content,
    "guidance": _guidance,
}
