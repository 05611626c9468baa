"""What a recipe will cost, counted before anything is allocated."""

from __future__ import annotations

from pathlib import Path

from crafts.conditions.maps import MAP_CHANNELS
from crafts.core.errors import ConfigError
from crafts.core.runtime import pick_device
from crafts.model.codec import codec_folder
from crafts.model.config import CHUNK_LENGTH, SD15_DENOISER, SD15_TEXT, KLCodecConfig
from crafts.model.count import Cost, Countable, Passes, count_dual_encoder, count_training
from crafts.model.encoders import read_dual_encoder_config, read_text_config
from crafts.model.files.folders import read_json
from crafts.model.files.hub import hub_id
from crafts.model.files.places import resolve_model
from crafts.model.segmenter import build_segmenter, load_segmenter
from crafts.model.text import load_tokenizer
from crafts.training.config import TrainConfig
from crafts.training.data import LatentData, PaintedData
from crafts.training.objective.strength import STEERED
from crafts.training.session.speed import measure_peak
from crafts.training.tasks.config import (
    AutoencoderStage,
    ClipStage,
    ControlStage,
    DenoiserStage,
    SegmenterStage,
    StageConfig,
)

A100_PEAK = 312e12  # FLOP/s, dense bf16, by its data sheet


def describe_cost(config: TrainConfig) -> list[str]:
    """Lines with parameters, operations, memory and hours of a recipe.

    Operations and stored activations are counted on empty tensors. Hours follow from the operations
    and the peak of this machine, measured by a matrix product: what training reaches is printed by
    the run itself as its share of that peak.
    """
    stage = config.stage
    absent = _absent(stage)
    own = isinstance(stage, DenoiserStage) and stage.denoiser and not stage.init_from
    if absent and not own:
        name, source = next(iter(absent.items()))
        return [f"{stage.kind}: stage.{name} {source!r} is not there, so nothing is counted"]
    if isinstance(stage, DenoiserStage):
        return _denoiser(config, stage, absent)
    if isinstance(stage, SegmenterStage):
        return _segmenter(stage)
    if isinstance(stage, ControlStage):
        return _control(config, stage)
    return _autoencoder(config, stage) if isinstance(stage, AutoencoderStage) else _clip(stage)


def _absent(stage: StageConfig) -> dict[str, str]:
    """Fields that name a folder which is not on this disk."""
    hub = "init_from" if isinstance(stage, ControlStage | DenoiserStage) else None
    fields = ("init_from", "codec_from", "text_from", "features_from")
    named = {name: getattr(stage, name, None) for name in fields}
    return {n: str(s) for n, s in named.items() if s and not _is_there(s, hub=n == hub)}


def _denoiser(config: TrainConfig, stage: DenoiserStage, absent: dict[str, str]) -> list[str]:
    """The denoiser, the frozen text encoder, and the codec where no latents are cached."""
    folder = _checkpoint(stage.init_from) if stage.init_from else None
    unet: Countable = stage.denoiser or (folder / "unet" if folder else SD15_DENOISER)
    cost = count_training(
        unet,
        Passes(
            batch_size=_micro(config),
            size=stage.crop,
            num_tokens=stage.max_tokens or CHUNK_LENGTH * stage.max_chunks,
            lora_rank=stage.lora.rank if stage.lora else None,
            checkpointing=stage.gradient_checkpointing,
            bf16=config.precision == "bf16",
        ),
    )
    frozen = 0.0
    if "text_from" not in absent:
        text = count_training(_text(stage, folder), Passes(frozen=True)).forward_flops
        frozen += text * stage.num_chunks
    if "codec_from" not in absent:
        frozen += _codec(config, stage, folder, unet)
    frozen += _measuring(config, stage, cost)
    length = stage.max_tokens or f"{stage.max_chunks} x {CHUNK_LENGTH}"
    unit = f"sample with a caption of {length} tokens"
    lines = _lines(config, cost, unit, frozen)
    if not (folder or stage.denoiser):
        lines[0] += f" ({stage.init_from!r} is not on this disk: counted with the shapes of SD-1.5)"
    if absent:
        named = " and ".join(f"{name} {source!r}" for name, source in absent.items())
        lines[0] += f" (not on this disk and not counted: {named})"
    return lines


def _measuring(config: TrainConfig, stage: DenoiserStage, cost: Cost) -> float:
    """Operations a sample for the gradient norms of the losses: a pass of its own where due.

    Relations are not counted: for 320 samples of 16384 values they take 1e-5 of what SD-1.5 takes.
    """
    measured = sum(getattr(stage.weights, name) > 0 for name in STEERED)
    if not measured or not stage.strength.every:
        return 0.0
    backward = cost.step_flops - cost.forward_flops
    once = cost.forward_flops + (1 + measured) * backward
    return once / config.global_batch_size / stage.strength.every


def _autoencoder(config: TrainConfig, stage: AutoencoderStage) -> list[str]:
    cost = count_training(
        codec_folder(Path(stage.init_from)) if stage.init_from else stage.codec,
        Passes(
            batch_size=_micro(config),
            size=stage.crop,
            part="decoder" if stage.train == "decoder" else "all",
            bf16=config.precision == "bf16",
        ),
    )
    without = " (without the feature loss)" if stage.features_from else ""
    return _lines(config, cost, f"crop of {stage.crop} px{without}")


def _clip(stage: ClipStage) -> list[str]:
    encoder, vocabulary, most = stage.encoder, stage.vocab_size, "at most "
    if stage.init_from:
        encoder, most = read_dual_encoder_config(Path(stage.init_from)), ""
        vocabulary = len(load_tokenizer(Path(stage.init_from) / "tokenizer"))
    parameters = count_dual_encoder(encoder, vocabulary)
    return [
        f"clip: {most}{parameters / 1e6:.2f} M parameters with {vocabulary} tokens; "
        "its operations are not counted"
    ]


def _control(config: TrainConfig, stage: ControlStage) -> list[str]:
    """The ControlNet and the frozen denoiser; latents are encoded once, which is not counted."""
    folder = _checkpoint(stage.init_from)
    cost = count_training(
        folder / "unet" if folder else SD15_DENOISER,
        Passes(
            batch_size=_micro(config),
            size=stage.crop,
            num_tokens=CHUNK_LENGTH * stage.max_chunks,
            checkpointing=stage.gradient_checkpointing,
            bf16=config.precision == "bf16",
            control=(len(MAP_CHANNELS[stage.control]), stage.widths),
        ),
    )
    text = count_training(folder / "text_encoder" if folder else SD15_TEXT, Passes(frozen=True))
    unit = f"sample with a caption of {stage.max_chunks} x {CHUNK_LENGTH} tokens"
    lines = _lines(config, cost, unit, text.forward_flops * stage.max_chunks)
    if not folder:
        lines[0] += f" ({stage.init_from!r} is not on this disk: counted with the shapes of SD-1.5)"
    return lines


def _segmenter(stage: SegmenterStage) -> list[str]:
    network = build_segmenter(stage.network)
    if stage.init_from:
        network = load_segmenter(Path(stage.init_from)).network
    count = sum(parameter.numel() for parameter in network.parameters())
    return [f"segmenter: {count / 1e6:.2f} M parameters; its operations are not counted"]


def _lines(config: TrainConfig, cost: Cost, unit: str, frozen: float = 0.0) -> list[str]:
    """Size, operations, memory, hours; ``frozen`` are operations a sample of frozen parts."""
    micro, peak = _micro(config), measure_peak(pick_device(config.device))
    flops = (cost.step_flops / micro + frozen) * config.global_batch_size
    kept = cost.gradients + cost.moments + cost.ema
    here = config.num_steps * flops / peak / 3600
    card = config.num_steps * flops / (A100_PEAK * 0.4) / 3600
    return [
        f"{config.stage.kind}: {cost.parameters / 1e6:.2f} M parameters, "
        f"{cost.trained / 1e6:.2f} M of them trained",
        f"operations: {cost.forward_flops / micro / 1e9:.4g} GFLOP forward per {unit}, "
        f"{flops / 1e12:.4g} TFLOP per step",
        f"memory per process: {cost.memory / 2**30:.1f} GiB (weights {cost.weights / 2**30:.1f}, "
        f"gradients, AdamW and average {kept / 2**30:.1f}, "
        f"activations of a micro-batch of {micro} {cost.activations / 2**30:.1f})",
        f"hours for {config.num_steps} steps: {here:.1f} at this machine's whole measured peak "
        f"({peak / 1e12:.2f} TFLOP/s), {here / 0.4:.1f} at 40 % of it; "
        f"{card:.1f} on one A100 at 40 % of its 312 TFLOP/s in bf16",
    ]


def _micro(config: TrainConfig) -> int:
    return min(config.micro_batch_size or config.global_batch_size, config.global_batch_size)


def _is_there(source: str, *, hub: bool) -> bool:
    if not hub:
        return (codec_folder(Path(source)) / "config.json").is_file()
    return _checkpoint(source) is not None or bool(hub_id(source))


def _checkpoint(source: str) -> Path | None:
    try:
        return resolve_model(source)
    except ConfigError:
        return None


def _text(stage: DenoiserStage, folder: Path | None) -> Countable:
    if stage.text_from:
        return read_text_config(Path(stage.text_from))
    return folder / "text_encoder" if folder else SD15_TEXT


def _codec(
    config: TrainConfig, stage: DenoiserStage, folder: Path | None, unet: Countable
) -> float:
    """Operations of encoding one whole tile as it comes; none where latents are cached."""
    if isinstance(config.data, LatentData):
        return 0.0
    own = codec_folder(Path(stage.codec_from)) if stage.codec_from else folder and folder / "vae"
    side = read_json(unet / "config.json") if isinstance(unet, Path) else unet.model_dump()
    size = _factor(own) * side["sample_size"]
    if isinstance(config.data, PaintedData):
        size = config.data.size
    passes = Passes(size=size, part="encoder", frozen=True)
    return count_training(own or KLCodecConfig(), passes).forward_flops


def _factor(codec: Path | None) -> int:
    """Pixels per latent position along a side; 8 as in SD-1.5 where there is no folder."""
    if codec is None:
        return 8
    values = read_json(codec / "config.json")
    widths = values.get("block_out_channels") or values["encoder_block_out_channels"]
    return int(2 ** (len(widths) - 1))
