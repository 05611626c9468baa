"""The denoiser stage: noise, text, and what the network makes of them."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from crafts.captions.trained_on import collect
from crafts.conditions.text import CaptionEncoder
from crafts.core.artifacts import fingerprint, sha256_file
from crafts.core.runtime import generator_for, say
from crafts.data.loader import LatentReader
from crafts.data.tiles.augment import dihedral
from crafts.model.bundle import save_bundle
from crafts.model.conditions import ConditionTokens
from crafts.model.denoiser import add_lora, merge_lora
from crafts.model.encoders import identify_clip
from crafts.model.lora import INSIDE, save_lora
from crafts.model.references import open_reference_encoder
from crafts.model.schedule import Schedule
from crafts.training.data import LatentData, PaintedData, ShardData
from crafts.training.loader import Sample, join
from crafts.training.objective.objective import Batches, Objective
from crafts.training.order import choice, uniform
from crafts.training.sources import (
    Split,
    check_tiles,
    mean_by_set,
    open_images,
    place,
    tile_size,
    to_bytes,
    to_tensor,
)
from crafts.training.tasks.config import (
    DenoiserStage,
)
from crafts.training.tasks.noising import (
    Noising,
    check_last_timestep,
    denoising_errors,
    encode_images,
    freeze,
    image_latents,
)
from crafts.training.tasks.parts import Shown, build_bundle, build_objective, describe
from crafts.training.tasks.pictures import tile_rows
from crafts.training.tasks.references import References
from crafts.training.tasks.wording import choose_wording, conditions_of


class DenoiserNetwork(nn.Module):
    """Loss of a batch of noised latents."""

    def __init__(
        self,
        unet: nn.Module,
        schedule: Schedule,
        gamma: float | None,
        objective: Objective | None = None,
        conditions: ConditionTokens | None = None,
    ) -> None:
        super().__init__()
        self.unet, self.objective, self.conditions = unet, objective, conditions
        self.projector = objective.projector if objective else None
        self._schedule, self._gamma = schedule, gamma

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses and numbers to record, [].

        L_simple of CRAFTS (arXiv 2512.13164) with min-SNR weights is a mean over the batch; the
        objective adds its losses, if it is on, from the same pass.
        """
        if self.objective is None:
            return {"denoising": self.per_sample(batch).mean()}
        with self.objective.watching(self.unet) as middle:
            x_t, prediction = self._predict(batch)
        wide = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
        estimate = self._schedule.x0_from(wide, x_t, batch["t"])
        losses = {"denoising": self._errors(prediction, batch).mean()}
        return losses | self.objective(estimate, batch, middle)

    def per_sample(self, batch: dict[str, Tensor]) -> Tensor:
        """Denoising loss of each sample, [B]."""
        return self._errors(self._predict(batch)[1], batch)

    def _predict(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Noised latents, and what the denoiser makes of them."""
        t, tokens, mask = batch["t"], batch["tokens"], batch["mask"]
        if self.conditions is not None:
            further, known = self.conditions({kind: batch[kind] for kind in self.conditions.kinds})
            tokens = torch.cat([tokens, further.to(tokens.dtype)], dim=1)
            mask = torch.cat([mask, known], dim=1)
        x_t = self._schedule.add_noise(batch["x0"], batch["noise"], t)
        prediction = self.unet(
            x_t,
            t,
            encoder_hidden_states=tokens,
            encoder_attention_mask=None if bool(mask.all()) else mask,
            return_dict=False,
        )[0]
        return x_t, prediction

    def _errors(self, prediction: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return denoising_errors(prediction, batch, self._schedule, gamma=self._gamma)


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
        batches: Batches | None = None,
    ) -> None:
        self.stage, self.seed, self.device, self.dtype = stage, seed, device, dtype
        torch.manual_seed(seed)
        self.bundle = build_bundle(stage)
        freeze(self.bundle, device, dtype)
        self._prepare_denoiser()
        self._open(data)
        self.references = self._open_references()
        self.captions = CaptionEncoder(
            self.bundle.text,
            stage.num_chunks,
            device=device,
            dtype=dtype,
            max_tokens=stage.max_tokens,
        )
        self.captions.say_what_is_cut([str(self.rows[i].get("text", "")) for i in self.split.train])
        self.objective = build_objective(
            stage,
            self.bundle,
            self.captions,
            source=Shown(self.rows, self.split.train, self._whole),
            batches=batches or Batches(),
        )
        if stage.weights.category and stage.category.classes:
            self.inputs["classes"] = sha256_file(Path(stage.category.classes))
        self.network = DenoiserNetwork(
            self.bundle.denoiser,
            self.bundle.schedule,
            stage.min_snr_gamma,
            self.objective,
            self.bundle.conditions,
        )

    def _prepare_denoiser(self) -> None:
        """Switch gradients on where the recipe trains: everywhere, or in low-rank additions."""
        unet, lora = self.bundle.denoiser, self.stage.lora
        unet.to(memory_format=torch.channels_last)
        if lora:
            add_lora(unet, rank=lora.rank, alpha=lora.alpha)
        else:
            unet.requires_grad_(True)
            if self.stage.train == "conditions":
                for name, parameter in unet.named_parameters():
                    parameter.requires_grad_(".attn2.to_k." in name or ".attn2.to_v." in name)
            if self.bundle.conditions is not None:
                self.bundle.conditions.requires_grad_(True).train()
        if self.stage.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        unet.train()

    @property
    def weights(self) -> dict[str, float]:
        """By which the losses are added now."""
        if self.objective is None:
            return self.stage.weights.model_dump()
        return self.objective.strength.weights

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
        own = collect([self.rows[i] for i in self.split.train])
        before = self.bundle.trained_on
        self.bundle.trained_on = before.and_also(own) if before else own
        if self.bundle.fingerprint:
            self.inputs["init_from"] = self.bundle.fingerprint
        if self.stage.codec_from:
            self.inputs["codec_from"] = self.bundle.codec.fingerprint
        if self.stage.text_from:
            self.inputs["text_from"] = identify_clip(Path(self.stage.text_from))
        self._side, native = self._find_side(), self.bundle.denoiser.config.sample_size
        self.noising = Noising(self.seed, self.bundle.schedule.num_timesteps, self.stage.crop)
        check_last_timestep(self.bundle.schedule, self.stage.min_snr_gamma)
        if self.stage.crop is None and self._side != native:
            say(
                f"the latents are {self._side} wide and the denoiser makes images from {native}: "
                "it is trained at another size than it will be used at"
            )

    def _open_references(self) -> References | None:
        """Other tiles of the same patients, where these are told."""
        tokens = self.bundle.conditions
        if tokens is None or "reference" not in tokens.kinds:
            return None
        encoder = open_reference_encoder(self.bundle.codec, tokens)

        def embed(row: int) -> Tensor:
            if self.latents is not None:
                return encoder.of_latents(self.latents.sample(row))
            return encoder.of_pixels(self._pixels(row).permute(1, 2, 0).numpy())

        found = References(
            self.rows, self.split.train, embed, dropout=self.stage.condition_dropout, seed=self.seed
        )
        if self.stage.conditions is not None:
            found.standardise(tokens)
        return found

    def _find_side(self) -> int:
        """Width of the latents of a training tile."""
        if self.latents is not None:
            return int(self.latents.shape[-1])
        assert self.images is not None
        factor, levels = self.bundle.codec.factor, len(self.bundle.denoiser.down_blocks) - 1
        side = check_tiles(
            self.images, self.split, factor=factor, crop=self.stage.crop, multiple=2**levels
        )
        return side // factor

    def sample(self, position: int) -> Sample:
        """Latents, or the image that the codec will encode, with noise, timestep and words."""
        row, seed = self.split.row(position), self.seed
        if self.latents is not None:
            variant = choice(seed, "variant", position, self.latents.num_variants)
            x0 = self.latents.sample(row, variant, generator_for(seed, "latent", position))
            shown = self.noising.latents(x0, position)
        else:
            image = dihedral(self._pixels(row), choice(seed, "variant", position, 8))
            shown = self.noising.image(image, position, self.bundle.codec)
        wording = choose_wording(self.rows[row], seed=seed, position=position)
        dropped = uniform(seed, "caption dropout", position) < self.stage.caption_dropout
        words = {"wording": wording, "caption": "" if dropped else wording}
        found = {"key": str(self.rows[row]["key"]), "row": row, "position": position}
        return found | words | shown | self._conditions(row, position)

    def _held_out(self, row: int) -> Sample:
        """A whole held-out tile; its row decides noise and timestep, in every run alike."""
        noising = Noising(0, self.noising.num_timesteps)
        if self.latents is not None:
            shown = noising.latents(self.latents.sample(row), row)
        else:
            shown = noising.image(self._pixels(row), row, self.bundle.codec, drawn=False)
        return {
            "caption": str(self.rows[row].get("text", "")),
            **shown,
            **self._conditions(row, None),
        }

    def collate(self, samples: dict[str, Any]) -> dict[str, Any]:
        """Clean latents, noise, timesteps and text of samples that were joined."""
        batch = self._place(samples)
        if self.objective is not None:
            texts = self.captions.pooled(samples["wording"])
            batch |= self.objective.text_batch(
                texts, samples["row"], samples["position"], seed=self.seed
            )
            if self.objective.wanted:
                wanted = self.objective.wanted(samples["row"], samples["wording"])
                batch["wanted"] = wanted.to(self.device)
        return batch | {"keys": samples["key"]}

    def _place(self, samples: dict[str, Any]) -> dict[str, Any]:
        """What the network needs of samples, on the device; images are encoded together."""
        kinds = self.bundle.conditions.kinds if self.bundle.conditions is not None else ()
        x0 = samples["x0"] if "x0" in samples else self._encode(samples)
        return {
            "x0": place(x0, self.device, self.dtype),
            "noise": place(samples["noise"], self.device, self.dtype),
            "t": samples["t"].to(self.device),
            **{kind: samples[kind].to(self.device) for kind in kinds},
            **self.captions.encode(samples["caption"]),
        }

    def _encode(self, samples: dict[str, Any]) -> Tensor:
        moments = encode_images(self.bundle, samples["image"], device=self.device, dtype=self.dtype)
        return image_latents(moments, samples)

    def _pixels(self, row: int) -> Tensor:
        assert self.images is not None  # the other source is the cached latents
        return to_bytes(self.images.image(row))

    @torch.no_grad()
    def _whole(self, row: int) -> np.ndarray:
        """A real tile, uint8 [H, W, 3]; through the codec where latents are all there is."""
        if self.images is not None:
            return self.images.image(row)
        assert self.latents is not None
        latents = place(self.latents.sample(row)[None], self.device, self.dtype)
        image = self.bundle.codec.decode(latents)[0].float().clamp(-1, 1)
        return ((image + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()

    def _conditions(self, row: int, position: int | None) -> dict[str, Tensor]:
        """What a sample is told beside its text; nothing in validation, without a position."""
        if self.bundle.conditions is None:
            return {}
        kinds = self.bundle.conditions.kinds
        if position is None:
            numbers = self.bundle.conditions.numbers
            return {kind: torch.full((numbers[kind],), math.nan) for kind in kinds}
        side, crop = self._side, self.stage.crop
        known = conditions_of(
            self.rows[row],
            cells=side,
            crop=crop if crop and crop < side else None,
            pixels=side * self.bundle.codec.factor,
            dropout=self.stage.condition_dropout,
            seed=self.seed,
            position=position,
        )
        found: dict[str, Tensor] = {
            kind: torch.tensor(known[kind]) for kind in kinds if kind in known
        }
        if self.references is not None:
            found["reference"] = self.references.sample(row, position)
        return found

    def validate(self) -> dict[str, float]:
        """Loss of whole held-out tiles per set, at fixed noise and timesteps."""
        chosen = sorted(self.split.validation_sample(per_set=32), key=self._size)
        alike = [list(rows) for _, rows in groupby(chosen, key=self._size)]
        parts = [rows[k : k + 32] for rows in alike for k in range(0, len(rows), 32)]
        losses: list[float] = []
        for part in parts:
            batch = self._place(join([self._held_out(row) for row in part]))
            losses += self.network.per_sample(batch).tolist()
        return mean_by_set("denoising", [self.rows[row] for row in chosen], losses)

    def _size(self, row: int) -> tuple[int, int]:
        return (0, 0) if self.images is None else tile_size(self.images, row)

    def picture(self) -> Image.Image | None:
        """One image of each fixed prompt."""
        from crafts.sampling.draws import Draw
        from crafts.sampling.presets import resolve_preset
        from crafts.sampling.sampler import iter_images

        prompts = list(self.stage.prompts)
        if not prompts:
            chosen = self.split.validation_sample(per_set=1)[:8] or self.split.train[:8]
            prompts = [str(self.rows[row].get("text", "")) for row in chosen]
        preset = resolve_preset("balanced", extra=self.bundle.extra)
        most = self.bundle.schedule.num_timesteps
        preset = replace(preset, num_steps=min(preset.num_steps, most))
        draws = [Draw(prompt=p, seed=0, k=0, guidance_scale=preset.guidance_scale) for p in prompts]
        images: list[Any] = [None] * len(draws)
        for group in iter_images(self.bundle, draws, preset, batch_size=8):
            for index, _, image in group:
                images[index] = to_tensor(image)
        columns = 4
        return tile_rows([images[i : i + columns] for i in range(0, len(images), columns)])

    def save(self, folder: Path) -> None:
        """Write the whole pipeline folder.

        Low-rank additions are merged into its denoiser, and lie in ``lora/`` by themselves too.
        """
        bundle, adapted = self.bundle, self.bundle.denoiser
        if self.stage.lora:
            bundle = replace(bundle, denoiser=merge_lora(copy.deepcopy(adapted)))
        save_bundle(
            bundle,
            folder,
            card=describe(bundle, self.stage, self.inputs, self.objective),
            stage="train",
            config=self.stage.model_dump(mode="json"),
            inputs=self.inputs,
            beside=(lambda new: save_lora(adapted, new / INSIDE)) if self.stage.lora else None,
        )
