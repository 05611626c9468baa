"""The denoiser stage: noise, text, and what the network makes of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor, nn

from crafts.core.artifacts import fingerprint
from crafts.core.config import Config
from crafts.core.errors import ConfigError
from crafts.core.runtime import generator_for, say
from crafts.data.augment import dihedral
from crafts.data.loader import LatentReader
from crafts.losses.denoising import denoising_loss
from crafts.model.bundle import UNKNOWN, Bundle, load_bundle, save_bundle
from crafts.model.codec import load_codec
from crafts.model.denoiser import DenoiserConfig, add_lora, build_denoiser, merge_lora
from crafts.model.encoders import load_dual_encoder
from crafts.model.schedule import Schedule, ScheduleConfig, build_schedule
from crafts.training.conditioning import CaptionEncoder
from crafts.training.order import choice, normal, uniform
from crafts.training.pictures import tile_rows
from crafts.training.sources import (
    LatentData,
    PaintedData,
    ShardData,
    Split,
    open_images,
    random_crop,
    to_tensor,
)


class LoraOptions(Config):
    """Low-rank additions to the attention of the denoiser."""

    rank: int = Field(16, ge=1)
    alpha: float | None = Field(None, gt=0, description="scale is alpha / rank; None: rank")


class DenoiserWeights(Config):
    """Weight of each loss."""

    denoising: float = Field(1.0, ge=0)


class DenoiserStage(Config):
    """Train a denoiser on latents and captions; codec and text encoder stay as they are."""

    kind: Literal["denoiser"] = "denoiser"
    init_from: str | None = Field(
        "mini", description="checkpoint folder, hub id or mini; null: the three parts below"
    )
    codec_from: str | None = Field(None, description="codec folder in place of init_from's")
    text_from: str | None = Field(
        None, description="CLIP folder whose text half conditions, in place of init_from's"
    )
    denoiser: DenoiserConfig | None = Field(
        None, description="start from this network with random weights"
    )
    schedule: ScheduleConfig | None = Field(
        None, description="noise schedule in place of init_from's"
    )
    lora: LoraOptions | None = Field(None, description="train low-rank additions only")
    crop: int | None = Field(
        None, gt=0, description="edge of the random crop of the latents; None: whole tiles"
    )
    caption_dropout: float = Field(
        0.1, ge=0, le=1, description="share of samples that see the empty caption"
    )
    min_snr_gamma: float | None = Field(
        5.0, gt=0, description="None: every timestep counts the same"
    )
    gradient_checkpointing: bool = False
    max_chunks: int = Field(
        1, ge=1, le=8, description="77-token chunks of a caption that are encoded"
    )
    prompts: tuple[str, ...] = Field(
        (), description="fixed prompts of the pictures; empty: held-out captions"
    )
    licence: str = Field(
        UNKNOWN, description="of the trained weights; provenance of every image names it"
    )
    mpp: float | None = Field(
        None, gt=0, description="microns per pixel of the tiles; None: unknown"
    )
    weights: DenoiserWeights = DenoiserWeights()


class DenoiserNetwork(nn.Module):
    """Loss of a batch of noised latents."""

    def __init__(self, unet: nn.Module, schedule: Schedule, gamma: float | None) -> None:
        super().__init__()
        self.unet = unet
        self._schedule, self._gamma = schedule, gamma

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """L_simple of CRAFTS (arXiv 2512.13164) with min-SNR weights, [], a mean over the batch."""
        return {"denoising": self.per_sample(batch).mean()}

    def per_sample(self, batch: dict[str, Tensor]) -> Tensor:
        """Loss of each sample, [B]."""
        x0, noise, t = batch["x0"], batch["noise"], batch["t"]
        x_t = self._schedule.add_noise(x0, noise, t)
        tokens, mask = batch["tokens"], batch["mask"]
        prediction = self.unet(
            x_t,
            t,
            encoder_hidden_states=tokens,
            encoder_attention_mask=None if bool(mask.all()) else mask,
            return_dict=False,
        )[0]
        return denoising_loss(
            prediction,
            self._schedule.target(x0, noise, t),
            self._schedule.snr(t),
            prediction_type=self._schedule.prediction_type,
            min_snr_gamma=self._gamma,
        )


class DenoiserTask:
    """What the loop needs to train a denoiser."""

    def __init__(
        self,
        stage: DenoiserStage,
        data: PaintedData | ShardData | LatentData,
        *,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.stage, self.seed, self.device, self.dtype = stage, seed, device, dtype
        torch.manual_seed(seed)
        self.bundle = _build_bundle(stage)
        for part in (self.bundle.codec.module, self.bundle.text.encoder, self.bundle.denoiser):
            part.to(device=device, dtype=dtype).requires_grad_(False)
        unet = self.bundle.denoiser
        unet.to(memory_format=torch.channels_last)
        if stage.lora:
            add_lora(unet, rank=stage.lora.rank, alpha=stage.lora.alpha)
        else:
            unet.requires_grad_(True)
        if stage.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        unet.train()
        self._open(data)
        self.network = DenoiserNetwork(unet, self.bundle.schedule, stage.min_snr_gamma)
        self.weights = stage.weights.model_dump()
        self.captions = CaptionEncoder(self.bundle.text, stage.max_chunks, device, dtype)
        self.captions.say_what_is_cut([str(self.rows[i].get("text", "")) for i in self.split.train])

    def _open(self, data: PaintedData | ShardData | LatentData) -> None:
        """Cached latents, or images that the codec encodes as they come."""
        self.latents = self.images = None
        if isinstance(data, LatentData):
            self.latents = LatentReader(
                Path(data.folder), codec_fingerprint=self.bundle.codec.fingerprint
            )
            self.rows, self.inputs = self.latents.rows, {"data": fingerprint(Path(data.folder))}
        else:
            self.images = open_images(data)
            self.rows, self.inputs = self.images.rows, {"data": self.images.fingerprint}
        self.split = Split(self.rows, data, self.seed)
        if self.bundle.fingerprint:
            self.inputs["init_from"] = self.bundle.fingerprint
        if self.stage.codec_from:
            self.inputs["codec_from"] = self.bundle.codec.fingerprint
        if self.stage.text_from:
            self.inputs["text_from"] = fingerprint(Path(self.stage.text_from))
        side, native = self._side(), self.bundle.denoiser.config.sample_size
        if self.stage.crop is None and side != native:
            say(
                f"the latents are {side} wide and the denoiser makes images from {native}: it is "
                "trained at another size than it will be used at"
            )

    def _side(self) -> int:
        """Width of the latents of a training tile."""
        if self.latents is not None:
            return int(self.latents.shape[-1])
        assert self.images is not None
        image = self.images.image(self.split.train[0])
        return int(image.shape[1]) // self.bundle.codec.factor

    def batch(self, positions: Sequence[int]) -> dict[str, Any]:
        """Clean latents, noise, timesteps and text of the given global sample indices."""
        rows = [self.split.row(g) for g in positions]
        x0 = torch.stack([self._latents(row, g) for row, g in zip(rows, positions, strict=True)])
        captions = [self._caption(row, g) for row, g in zip(rows, positions, strict=True)]
        return self._assemble(x0, captions, positions, self.seed) | {
            "keys": [str(self.rows[r]["key"]) for r in rows]
        }

    def _assemble(
        self, x0: Tensor, captions: list[str], positions: Sequence[int], seed: int
    ) -> dict[str, Any]:
        steps = self.bundle.schedule.num_timesteps
        noise = torch.stack([normal(seed, "noise", g, x0.shape[1:]) for g in positions])
        t = torch.tensor([choice(seed, "timestep", g, steps) for g in positions])
        layout = torch.channels_last
        return {
            "x0": x0.to(self.device, self.dtype).contiguous(memory_format=layout),
            "noise": noise.to(self.device, self.dtype).contiguous(memory_format=layout),
            "t": t.to(self.device),
            **self.captions.encode(captions),
        }

    def _latents(self, row: int, position: int) -> Tensor:
        """Latents [C, h, w] of one sample, in one of the symmetries, sampled and cropped."""
        if self.latents is not None:
            variant = choice(self.seed, "variant", position, self.latents.num_variants)
            latents = self.latents.sample(
                row, variant, generator_for(self.seed, "latent", position)
            )
        else:
            latents = self._encode_image(row, choice(self.seed, "variant", position, 8), position)
        crop = self.stage.crop
        if crop is None or crop >= latents.shape[-1]:
            return latents
        return random_crop(latents, crop, seed=self.seed, position=position)

    @torch.no_grad()
    def _encode_image(self, row: int, symmetry: int, position: int) -> Tensor:
        assert self.images is not None  # the other source is the cached latents
        image = dihedral(to_tensor(self.images.image(row)), symmetry)[None]
        image = image.to(self.device, self.dtype)
        with torch.autocast(self.device.type, enabled=False):
            mean, std = self.bundle.codec.encode(image)
        latents = mean[0].cpu()
        if bool((std > 0).any()):
            latents = latents + std[0].cpu() * normal(self.seed, "latent", position, latents.shape)
        return latents

    def _caption(self, row: int, position: int) -> str:
        if uniform(self.seed, "caption dropout", position) < self.stage.caption_dropout:
            return ""
        wordings = self.rows[row].get("captions") or [self.rows[row].get("text", "")]
        return str(wordings[choice(self.seed, "wording", position, len(wordings))])

    def validate(self) -> dict[str, float]:
        """Loss of whole held-out tiles per set, at fixed noise and timesteps."""
        chosen = self.split.validation_sample(self.rows, per_set=32)
        losses: dict[str, list[float]] = {}
        for first in range(0, len(chosen), 32):
            part = chosen[first : first + 32]
            x0 = torch.stack([self._held_out_latents(row) for row in part])
            captions = [str(self.rows[row].get("text", "")) for row in part]
            batch = self._assemble(x0, captions, part, seed=0)
            for row, loss in zip(part, self.network.per_sample(batch).tolist(), strict=True):
                losses.setdefault(str(self.rows[row].get("set", "")), []).append(loss)
        means = {f"denoising/{name}": sum(values) / len(values) for name, values in losses.items()}
        return means | ({"denoising": sum(means.values()) / len(means)} if means else {})

    def _held_out_latents(self, row: int) -> Tensor:
        if self.latents is not None:
            return self.latents.sample(row)
        return self._encode_image(row, 0, row)

    def picture(self) -> Image.Image | None:
        """One image of each fixed prompt."""
        from crafts.sampling.conditioning import Draw
        from crafts.sampling.sampler import iter_images, resolve_preset

        prompts = list(self.stage.prompts)
        if not prompts:
            chosen = self.split.validation_sample(self.rows, per_set=1)[:8] or self.split.train[:8]
            prompts = [str(self.rows[row].get("text", "")) for row in chosen]
        preset = resolve_preset("balanced")
        draws = [Draw(prompt=p, seed=0, k=0, guidance_scale=preset.guidance_scale) for p in prompts]
        images: list[Any] = [None] * len(draws)
        for group in iter_images(self.bundle, draws, preset, batch_size=8):
            for index, _, image in group:
                images[index] = to_tensor(image)
        columns = 4
        return tile_rows([images[i : i + columns] for i in range(0, len(images), columns)])

    def save(self, folder: Path) -> None:
        """Write the whole pipeline folder; low-rank additions are merged into its denoiser."""
        bundle = self.bundle
        if self.stage.lora:
            bundle = replace(bundle, denoiser=merge_lora(copy.deepcopy(bundle.denoiser)))
        save_bundle(
            bundle,
            folder,
            card=_card(bundle, self.stage, self.inputs),
            stage="train",
            config=self.stage.model_dump(mode="json"),
            inputs=self.inputs,
        )


def _build_bundle(stage: DenoiserStage) -> Bundle:
    """Join the parts that the recipe names."""
    parts: dict[str, Any] = {}
    if stage.codec_from:
        parts["codec"] = load_codec(Path(stage.codec_from))
    if stage.text_from:
        parts["text"] = load_dual_encoder(Path(stage.text_from)).text_conditioner()
    if stage.denoiser:
        parts["denoiser"] = build_denoiser(stage.denoiser)
    if stage.schedule or stage.init_from is None:
        parts["schedule"] = build_schedule(stage.schedule or ScheduleConfig())
    # what init_from was allowed for, at which scale and with which guidance does not pass on
    parts |= {"licence": stage.licence, "mpp": stage.mpp or UNKNOWN, "extra": {}}
    if stage.init_from is None and not {"codec", "text", "denoiser"} <= set(parts):
        raise ConfigError(
            "train: stage.init_from",
            came="null",
            allowed="a checkpoint, or all of codec_from, text_from and denoiser",
            do="Name the missing parts.",
        )
    bundle = replace(load_bundle(stage.init_from), **parts) if stage.init_from else Bundle(**parts)
    needed, width = (
        bundle.denoiser.config.cross_attention_dim,
        bundle.text.encoder.config.hidden_size,
    )
    channels = bundle.denoiser.config.in_channels
    if needed != width or channels != bundle.codec.channels:
        raise ConfigError(
            "train: stage.denoiser",
            came=f"text width {needed} and {channels} latent channels",
            allowed=f"{width} and {bundle.codec.channels}, as text encoder and codec give them",
            do="Correct stage.denoiser, or choose other parts.",
        )
    return bundle


def _card(bundle: Bundle, stage: DenoiserStage, inputs: dict[str, str]) -> str:
    start = Path(stage.init_from).name if stage.init_from else "random weights"
    return (
        f"---\nlicense: other\nlicense_name: {bundle.licence}\n"
        "tags: [pathology, text-to-image, crafts]\n---\n\n"
        "# A checkpoint trained with crafts\n\n"
        "Synthetic histology from text. Research use only; not a medical device.\n\n"
        f"Started from `{start}`; data `{inputs.get('data', '')}`. "
        "The resolved recipe is in `manifest.json`.\n"
    )
