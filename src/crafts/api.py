"""One function a stage, and a model to hold in the hand; it only hands real parts to the stages."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crafts.core.config import takes
from crafts.core.errors import ConfigError
from crafts.core.paths import check_places
from crafts.generation.request import ImageRequest

if TYPE_CHECKING:
    from PIL import Image

    from crafts.auditing.config import AuditConfig
    from crafts.auditing.membership import Target
    from crafts.captions.config import CaptionConfig, SummariseConfig
    from crafts.core.artifacts import Manifest
    from crafts.core.config import Config
    from crafts.core.protocols import CountTokens
    from crafts.data.config import EncodeConfig, PackConfig
    from crafts.downstream.config import BenchmarkConfig
    from crafts.evaluation.config import EvaluateConfig
    from crafts.generation.request import GenerateConfig
    from crafts.model.bundle import Bundle
    from crafts.readerstudy.config import ServeConfig
    from crafts.slides.config import TileConfig
    from crafts.training.config import TrainConfig

Stage = Literal[
    "tile",
    "summarise",
    "caption",
    "pack",
    "encode",
    "train",
    "generate",
    "evaluate",
    "audit",
    "benchmark",
]
# module and name of each stage's configuration class, imported when it is asked for
_CONFIGS: dict[Stage, tuple[str, str]] = {
    "tile": ("crafts.slides.config", "TileConfig"),
    "summarise": ("crafts.captions.config", "SummariseConfig"),
    "caption": ("crafts.captions.config", "CaptionConfig"),
    "pack": ("crafts.data.config", "PackConfig"),
    "encode": ("crafts.data.config", "EncodeConfig"),
    "train": ("crafts.training.config", "TrainConfig"),
    "generate": ("crafts.generation.request", "GenerateConfig"),
    "evaluate": ("crafts.evaluation.config", "EvaluateConfig"),
    "audit": ("crafts.auditing.config", "AuditConfig"),
    "benchmark": ("crafts.downstream.config", "BenchmarkConfig"),
}
# step -> name of its configuration class, in crafts.readerstudy.config
_STUDY = {
    "prepare": "PrepareConfig",
    "simulate": "SimulateConfig",
    "power": "PowerConfig",
    "analyze": "AnalyzeConfig",
}


@dataclass(frozen=True)
class Model:
    """A loaded checkpoint.

    Attributes:
        bundle: its parts: codec, text conditioner, denoiser, schedule.
    """

    bundle: Bundle

    @takes(ImageRequest)
    def generate(
        self,
        prompts: Sequence[str] | str,
        *,
        control: Mapping[str, Any] | None = None,
        inpaint: Any = None,
        mask: Any = None,
        **options: Any,
    ) -> list[Image.Image]:
        """Synthetic tiles, for research only.

        Args:
            prompts: texts to follow; a single one may be given as it is.
            control: ``{"nuclei": MASK}`` or ``{"fluorescence": IMAGE}`` decides where nuclei are
                in all images. A path, ``"sample:colon"`` (an invented layout for each image), a
                ``NucleiMask``, labels [H, W], or fluorescence values [H, W] or [C, H, W] in
                [0, 1]; ``(IMAGE, weight[, start, stop])`` weighs it.
            inpaint: a picture that is edited, as a path, a Pillow image or uint8 [H, W, 3].
            mask: where it is made anew, white or true: a path, a Pillow image or [H, W]. Beyond
                the feather no bit of the picture changes.
            **options: fields of :class:`crafts.generation.request.ImageRequest`.

        Returns:
            RGB images: all of the first prompt, then all of the second, and so on. :func:`save`
            writes one with its provenance, which ``Image.save`` leaves out.

        Raises:
            ConfigError: an empty prompt, a value out of bounds, a control that cannot be used, or
                under ``strict`` a word that the model cannot know.
            DataError: an unusable control image.
        """
        from crafts.generation.generate import generate_images

        return generate_images(
            self.bundle, prompts, control=control, inpaint=inpaint, mask=mask, **options
        )

    @property
    def licence(self) -> str:
        """Licence of the weights, which every file that is saved names."""
        return self.bundle.licence


def save(image: Image.Image, path: str | Path) -> None:
    """Write an image of :meth:`Model.generate` as a PNG that says it is synthetic, and how made.

    Args:
        image: as it was returned; cut or changed pixels keep what is known of their making.
        path: of the file, replaced in one step.

    Raises:
        ConfigError: another image, of which nothing is known, or a path where nothing can be
            written.
        RetryError: the disk is full.
    """
    from crafts.generation.export import save_made

    save_made(image, Path(path))


def load(source: str | Path = "mini", *, device: str = "auto") -> Model:
    """Load a model.

    Args:
        source: ``mini``, a folder, or a hub id in the diffusers layout, downloaded if need be.
        device: ``auto`` takes a GPU when there is one.

    Raises:
        ConfigError: there is no such model.
        IntegrityError: a file of it is missing or damaged.
    """
    from crafts.core.runtime import pick_device
    from crafts.model.bundle import load_bundle

    where = pick_device(device)
    return Model(load_bundle(source, network=True).to(where))


def configure(
    stage: Stage,
    source: Path | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> Any:
    """The validated configuration of a stage.

    Args:
        stage: one that is built.
        source: YAML file, mapping, or None for the defaults.
        overrides: ``a.b=c`` strings.

    Raises:
        ConfigError: the file is missing, or a field is unknown or out of bounds.
    """
    from crafts.core.config import load_config

    return load_config(configuration(stage), source, overrides)


def configuration(stage: Stage) -> type[Config]:
    """The configuration class of a stage that is built, imported when it is asked for."""
    from importlib import import_module

    module, name = _CONFIGS[stage]
    found: type[Config] = getattr(import_module(module), name)
    return found


def pack(
    config: PackConfig | Mapping[str, Any] | None,
    source: Path,
    output: Path,
    *,
    splits: Path | None = None,
) -> Manifest:
    """Tiles and their text into shards; see :func:`crafts.data.pack.run`."""
    from functools import partial

    from crafts.controls.masks import load_tile_mask
    from crafts.data import pack as stage

    resolved = _resolved("pack", config)
    check_places(output, source, splits)
    counters = {name: _token_counter(name) for name in resolved.tokenizers}
    read = partial(load_tile_mask, values=resolved.mask_values, table=resolved.mask_table)
    return stage.run(
        resolved,
        Path(source),
        Path(output),
        splits=_path(splits),
        count_tokens=counters,
        load_mask=read,
    )


def encode(
    config: EncodeConfig | Mapping[str, Any] | None,
    shards: Path,
    output: Path,
    *,
    model: str | Path = "mini",
) -> Manifest:
    """Shards into latents by an autoencoder; see :func:`crafts.data.encode.run`.

    Args:
        config: size, variants and the rest.
        shards: output of ``pack``.
        output: folder to write; what is still valid in it is taken over.
        model: a whole model, of which the autoencoder is used, or an autoencoder's own folder.
    """
    from crafts.core.artifacts import load_manifest
    from crafts.data import encode as stage
    from crafts.model.files.places import find_codec

    resolved = _resolved("encode", config)
    load_manifest(Path(shards))
    check_places(output)
    folder = find_codec(model, network=True)

    from crafts.core.runtime import pick_device
    from crafts.model.codec import load_codec

    device = pick_device()
    codec = load_codec(folder).to(device)
    return stage.run(resolved, Path(shards), Path(output), codec=codec, device=device)


def train(
    config: TrainConfig | Mapping[str, Any] | Path,
    output: Path,
    *,
    inputs: Mapping[str, Path] | None = None,
    resume: Literal["auto", "never"] = "auto",
) -> Manifest:
    """Train a recipe; see :func:`crafts.training.train.run`.

    Args:
        config: a recipe: path of a YAML file, mapping, or validated.
        output: folder of the run; finished weights lie in its ``model/``.
        inputs: folders that replace those which the recipe names (``data``, ``init_from``).
        resume: ``auto`` goes on from the newest checkpoint, ``never`` refuses a folder with one.
    """
    resolved = _resolved("train", config)
    check_places(output, (inputs or {}).get("data") or getattr(resolved.data, "folder", None))
    source = (inputs or {}).get("init_from") or getattr(resolved.stage, "init_from", None)
    if source:
        _fetch(source)

    from crafts.training import train as stage

    return stage.run(resolved, inputs or {}, Path(output), resume=resume)


def estimate(config: TrainConfig | Mapping[str, Any] | Path) -> list[str]:
    """What a recipe will cost, in lines; see ``describe_cost`` of the training package."""
    from crafts.training.session.estimate import describe_cost

    return describe_cost(_resolved("train", config))


def generate(
    config: GenerateConfig | Mapping[str, Any], output: Path, *, model: Model | None = None
) -> Manifest:
    """Prompts into image files with provenance; see :func:`crafts.generation.generate.run`.

    Args:
        config: prompts, model, preset and the rest.
        output: folder to write.
        model: one that is loaded already, instead of ``config.model``.
    """
    from crafts.conditions.wishes import parse_options
    from crafts.generation.manifest import require_prompts

    resolved = _resolved("generate", config)
    require_prompts(resolved, resolved.manifest)
    parse_options(resolved.control)
    check_places(output, resolved.manifest)
    if model is None:
        from crafts.generation.early import check_early

        check_early(resolved, Path(output))

    from crafts.generation import generate as stage

    bundle = model.bundle if model else None
    gate: dict[str, Any] = {}
    if resolved.keep is not None:
        from crafts.evaluation.gate import shipped_gate, shipped_gate_words

        gate = {"accept": shipped_gate(device=resolved.device), "unknown_to": shipped_gate_words()}
    return stage.run(resolved, None, Path(output), bundle=bundle, **gate)


def models(source: str = "") -> list[str]:
    """What a model was trained on, in lines; see :func:`crafts.shelf.describe_model`.

    Args:
        source: name of a model in the package, or a folder; "" lists those of the package.

    Raises:
        ConfigError: there is no such model here.
        DataError: what it says is damaged.
    """
    from crafts.shelf import describe_model, describe_models

    return describe_model(source) if source else describe_models()


def describe_sampling(config: GenerateConfig | Mapping[str, Any]) -> str:
    """Solver, steps and guidance of a run in one line; reads no weights."""
    from crafts.shelf import describe_sampling as describe

    resolved = _resolved("generate", config)
    wishes = {"num_steps": resolved.num_steps, "guidance_scale": resolved.guidance_scale}
    return describe(resolved.model, resolved.preset, **wishes)


def example_tiles(source: str, output: Path) -> Manifest:
    """Two tiles of each class of a model, of seed 0, with the contact sheet ``grid.png``.

    Args:
        source: name of a model in the package, or a folder; "" is mini.
        output: folder to write, as that of :func:`generate`.
    """
    from crafts.model.files.places import is_shipped
    from crafts.shelf import example_prompts, find_model

    name = source or "mini"
    prompts = example_prompts(name)
    where = name if is_shipped(name) else str(find_model(name))
    return generate({"prompts": prompts, "num_images": 2, "model": where}, output)


def tile(config: TileConfig | Mapping[str, Any] | None, slides: Path, output: Path) -> Manifest:
    """Whole-slide images into tiles; see :func:`crafts.slides.tile.run`."""
    from crafts.slides import tile as stage

    return stage.run(_resolved("tile", config), Path(slides), Path(output))


def summarise(
    config: SummariseConfig | Mapping[str, Any] | None, reports: Path, output: Path
) -> Manifest:
    """Reports into short de-identified summaries; see :func:`crafts.captions.summarise.run`."""
    from crafts.captions import summarise as stage

    resolved = _resolved("summarise", config)
    check_places(Path(output).parent, reports)
    counter = _token_counter(resolved.tokenizer)
    return stage.run(resolved, Path(reports), Path(output), count_tokens=counter)


def caption(
    config: CaptionConfig | Mapping[str, Any] | None,
    tiles: Path,
    output: Path,
    *,
    summaries: Path | None = None,
    scores: Path | None = None,
) -> Manifest:
    """Tiles with captions from summaries and scores; see :func:`crafts.captions.caption.run`.

    Args:
        config: grammar, levels, budget and the rest.
        tiles: output of ``tile``, or a folder of images with metadata.csv.
        output: folder to write, for ``pack``.
        summaries: output of ``summarise``.
        scores: csv, h5 or GeoJSON, or a folder with one a slide.
    """
    from crafts.captions import caption as stage

    resolved = _resolved("caption", config)
    check_places(output, tiles, summaries, scores)
    counter = _token_counter(resolved.tokenizer)
    sources = stage.Sources(Path(tiles), _path(summaries), _path(scores))
    return stage.run(resolved, sources, Path(output), count_tokens=counter)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def evaluate(config: EvaluateConfig | Mapping[str, Any], output: Path) -> Manifest:
    """Generated tiles beside real ones; see :func:`crafts.evaluation.evaluate.run`.

    Args:
        config: the folders ``generated``, ``real`` and ``train``, the encoder and the rest.
        output: folder to write.
    """
    from crafts.model.files.places import find_encoder

    resolved = _resolved("evaluate", config)
    check_places(output, resolved.generated, resolved.real, resolved.train)
    find_encoder(resolved.encoder, network=True)

    from crafts.evaluation import evaluate as stage
    from crafts.model.vision.image_encoders import open_encoder

    encoder = open_encoder(resolved.encoder, network=True, device=resolved.device)
    return stage.run(resolved, None, Path(output), encoder=encoder)


def audit(config: AuditConfig | Mapping[str, Any], output: Path) -> Manifest:
    """Copies of training tiles and exposure of the model; see :func:`crafts.auditing.audit.run`.

    Args:
        config: the folders ``generated``, ``train`` and ``heldout``, the model and the rest.
        output: folder to write.

    Raises:
        DataError: unusable images; or more copies than ``fail_above``, after all is written.
    """
    from crafts.model.files.places import find_encoder

    resolved = _resolved("audit", config)
    check_places(output, resolved.generated, resolved.train, resolved.heldout)
    find_encoder(resolved.encoder, network=True)
    if resolved.model:
        _fetch(resolved.model)

    from crafts.auditing import audit as stage
    from crafts.model.vision.image_encoders import open_encoder
    from crafts.sets.features import by_split

    encoder = open_encoder(resolved.encoder, network=True, device=resolved.device)
    build = by_split(encoder, resolved.columns.as_columns(), batch_size=resolved.batch_size)
    target = _target(resolved) if resolved.model else None
    return stage.run(resolved, None, Path(output), build=build, target=target)


def _target(config: AuditConfig) -> Target:
    """The model of an audit, as what it answers to tiles and prompts."""
    from functools import partial

    from crafts.auditing.membership import Target
    from crafts.sampling.losses import compute_losses

    model = load(config.model, device=config.device)

    def make_images(prompt: str, number: int) -> list[Image.Image]:
        size = min(config.batch_size, number)
        return model.generate(
            prompt, seed=config.seed, num_images=number, preset="fast", batch_size=size
        )

    losses_of = partial(compute_losses, model.bundle, timesteps=config.timesteps, seed=config.seed)
    return Target(config.model, model.bundle.fingerprint, losses_of, make_images)


def benchmark(config: BenchmarkConfig | Mapping[str, Any], output: Path) -> Manifest:
    """Whether generated tiles help in a task; see :func:`crafts.downstream.benchmark.run`.

    Args:
        config: the ``task``, the folders ``real``, ``generated`` and ``external`` and the rest.
        output: folder to write.

    Raises:
        DataError: unusable or too few tiles, a test patient that the generator saw, or copies.
    """
    from crafts.model.files.places import find_codec, find_encoder

    resolved = _resolved("benchmark", config)
    more = (resolved.external, resolved.trained, resolved.questions)
    read = (resolved.real, *resolved.generated, *more)
    check_places(output, *read)
    find_encoder(resolved.encoder, network=True)

    from crafts.auditing.matching.pairs import find_pairs
    from crafts.downstream import benchmark as stage
    from crafts.model.codec import load_codec
    from crafts.model.vision.image_encoders import open_encoder

    encoder = open_encoder(resolved.encoder, network=True, device=resolved.device)
    codec = load_codec(find_codec(resolved.codec)) if resolved.codec else None
    return stage.run(
        resolved, None, Path(output), encoder=encoder, find_copies=find_pairs, codec=codec
    )


def study(config: Config | Mapping[str, Any], output: Path) -> Manifest:
    """One step of a reader study; see :mod:`crafts.readerstudy`.

    Args:
        config: of a step, or a mapping with ``step`` (prepare, simulate, power or analyze) and the
            fields of that step.
        output: folder to write.

    Raises:
        ConfigError: no such step, or a field is unknown or out of bounds.
        DataError: unusable tiles or readings, or a study that is still open.
    """
    from importlib import import_module

    from crafts.core.config import Config

    if isinstance(config, Config):
        found = (name for name, kind in _STUDY.items() if kind == type(config).__name__)
        step, resolved = next(found, ""), config
    else:
        values = dict(config)
        step = str(values.pop("step", ""))
        resolved = configure_study(step, values)
    stage = import_module(f"crafts.readerstudy.{_study_step(step)}")
    inputs = (getattr(resolved, name, None) for name in ("real", "generated", "study", "readings"))
    check_places(output, *inputs)
    manifest: Manifest = stage.run(resolved, None, Path(output))
    return manifest


def configure_study(
    step: str, source: Mapping[str, Any] | None = None, overrides: Sequence[str] = ()
) -> Any:
    """The validated configuration of a step of a study.

    Args:
        step: prepare, serve, simulate, power or analyze.
        source: mapping, or None for the defaults.
        overrides: ``a.b=c`` strings.

    Raises:
        ConfigError: no such step, or a field is unknown or out of bounds.
    """
    from crafts.core.config import load_config
    from crafts.readerstudy import config

    kind = "ServeConfig" if step == "serve" else _STUDY[_study_step(step)]
    return load_config(getattr(config, kind), source, overrides)


def serve_study(config: ServeConfig | Mapping[str, Any], output: Path) -> None:
    """Serve a study to its readers until Ctrl-C; see :func:`crafts.readerstudy.web.serve`.

    Args:
        config: the study and the address.
        output: folder of the answers; the first time, of ``links.csv`` too.

    Raises:
        DataError: no prepared study, or answers to another one.
    """
    from crafts.readerstudy.config import ServeConfig

    served = config if isinstance(config, ServeConfig) else configure_study("serve", config)
    check_places(output, served.study)

    from crafts.readerstudy.web import serve

    serve(served, Path(output))


def close_study(study: Path, answers: Path) -> Manifest:
    """Close a study for good and write its readings; see ``crafts study close``.

    Args:
        study: output of ``prepare``.
        answers: output of ``serve``; gets the folder ``readings``.

    Raises:
        DataError: nothing was served there, or answers to another study.
    """
    from crafts.readerstudy.sessions import close_study as close

    check_places(answers, study)
    return close(Path(study), Path(answers))


def _study_step(step: str) -> str:
    if step not in _STUDY:
        raise ConfigError(
            "study: step",
            came=repr(step),
            allowed=f"one of {', '.join(_STUDY)}",
            do="Name the step, for example study({'step': 'prepare', ...}, output).",
        )
    return step


def _fetch(source: str | Path) -> None:
    """Bring a hub id to this disk, where the stages look; anything else must lie there already."""
    from crafts.model.files.places import resolve_model

    if not os.path.exists(source):
        resolve_model(source, network=True)


def _token_counter(name: str) -> CountTokens:
    """The counter of a model; one that is not there is refused before anything is loaded."""
    from crafts.model.files.places import find_tokenizer

    find_tokenizer(name, network=True)

    from crafts.model.bundle import load_token_counter

    return load_token_counter(name, network=True)


def _resolved(stage: Stage, config: Any) -> Any:
    """A configuration as it is, and anything else through the validator."""
    from crafts.core.config import Config

    if isinstance(config, str):
        config = Path(config)
    return config if isinstance(config, Config) else configure(stage, config)
