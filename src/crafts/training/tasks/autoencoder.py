"""The autoencoder stage: images to latents and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from crafts.core.artifacts import finish, sha256_file
from crafts.core.errors import ConfigError
from crafts.core.runtime import say
from crafts.data.tiles.augment import dihedral
from crafts.losses.adversarial import adversarial_loss, discriminator_loss
from crafts.losses.gather import gather
from crafts.losses.reconstruction import (
    checkerboard_loss,
    coarse_loss,
    decibel_loss,
    feature_loss,
    gradient_loss,
    grain_loss,
    kl_loss,
    l1_loss,
    l2_loss,
    laplacian_variance,
    latent_moment_penalty,
)
from crafts.model.codec import (
    Codec,
    build_codec,
    initialize_linear,
    load_codec,
    save_codec,
    weights_file,
)
from crafts.model.config import TinyCodecConfig
from crafts.model.discriminator import build_discriminator, freeze
from crafts.model.encoders import load_dual_encoder
from crafts.training.data import PaintedData, ShardData
from crafts.training.loader import Sample
from crafts.training.order import choice, normal
from crafts.training.sources import (
    Split,
    jitter_stains,
    mean_by_set,
    open_images,
    place,
    random_crop,
    tile_size,
    to_tensor,
)
from crafts.training.tasks.config import AutoencoderStage
from crafts.training.tasks.pictures import tile_rows


class AutoencoderNetwork(nn.Module):
    """Reconstruction losses of a batch.

    A discriminator is trained in the same step and by the same optimizer: its own loss sees the
    reconstruction without gradient, the decoder's loss sees the discriminator without gradient.

    Args:
        codec: whose module is trained.
        features: image features [list of [B, C, h, w]] for the feature loss, frozen, or None.
        discriminator: images -> logits, or None.
        origin: the codec that the training began with, frozen, to whose latents the new ones are
            kept near, or None.
    """

    def __init__(
        self,
        codec: Codec,
        features: Any | None,
        discriminator: nn.Module | None = None,
        origin: Codec | None = None,
    ) -> None:
        super().__init__()
        self.module = codec.module
        self.discriminator = discriminator
        self._codec = codec
        self._features = features
        self._origin = origin

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses by name, each [] and a mean over the batch."""
        images = batch["images"]
        mean, std = self._codec.encode(images)
        latents = mean + std * batch["noise"]
        output = self._codec.decode(latents)
        losses = {
            "l1": l1_loss(output, images),
            "l2": l2_loss(output, images),
            "decibel": decibel_loss(output, images),
            "coarse": coarse_loss(output, images),
            "gradient": gradient_loss(output, images),
            "latent": latent_moment_penalty(gather(latents)),
            "grain": grain_loss(output, images),
            "checkerboard": checkerboard_loss(output, images),
        }
        if not self._codec.deterministic:
            losses["kl"] = kl_loss(mean, std)
        if self._features is not None:
            losses["feature"] = feature_loss(self._features(output), self._features(images))
        if self._origin is not None:
            with torch.no_grad():
                known, _ = self._origin.encode(images)
            losses["drift"] = l2_loss(mean, known)
        if self.discriminator is not None:
            judge = self.discriminator
            losses["discriminator"] = discriminator_loss(judge(images), judge(output.detach()))
            logits = torch.func.functional_call(judge, freeze(judge), (output,))
            losses["adversarial"] = adversarial_loss(logits)
        return losses


class AutoencoderTask:
    """What the loop needs to train a codec."""

    def __init__(
        self,
        stage: AutoencoderStage,
        data: PaintedData | ShardData,
        *,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.stage, self.seed, self.device, self.dtype = stage, seed, device, dtype
        self.source = open_images(data)
        self.split = Split(self.source.rows, data, seed)
        self.inputs = {"data": self.source.fingerprint}
        torch.manual_seed(seed)
        self.codec = load_codec(Path(stage.init_from)) if stage.init_from else self._fresh()
        self.codec.module.to(device=device, dtype=dtype, memory_format=torch.channels_last)
        self._size = self._edge(self.codec, stage.crop)
        if self._size != stage.crop:
            say(f"the crops are {self._size} px, which fits into the smallest tile")
        if stage.train == "decoder":
            for name, parameter in self.codec.module.named_parameters():
                parameter.requires_grad_(name.startswith(("decoder", "post_quant_conv")))
        features = None
        if stage.features_from:
            encoder = load_dual_encoder(Path(stage.features_from)).to(device).requires_grad_(False)
            self.inputs["features_from"] = encoder.fingerprint
            encoder.to(dtype)
            features = encoder.feature_maps
        if stage.init_from:
            self.inputs["init_from"] = sha256_file(weights_file(Path(stage.init_from)))
        judge: Any = build_discriminator(stage.discriminator) if stage.discriminator else None
        if judge is not None:
            judge.to(device=device, dtype=dtype, memory_format=torch.channels_last)
        self.network: nn.Module = AutoencoderNetwork(
            self.codec, features, judge, self._origin(stage) if self._drifts(stage) else None
        )
        self.weights = stage.weights.model_dump() | {"discriminator": 1.0}
        self.objective = None  # the moments of the latents are a loss of the network

    @staticmethod
    def _drifts(stage: AutoencoderStage) -> bool:
        """Whether latents move and are kept near; those of a frozen encoder cannot move."""
        return stage.weights.drift > 0 and stage.train == "all"

    def _origin(self, stage: AutoencoderStage) -> Codec:
        """What the training begins with, to stay as it is."""
        if stage.init_from is None:
            raise ConfigError(
                "stage.weights.drift",
                came=f"{stage.weights.drift:g}, and no stage.init_from",
                allowed="a codec to begin with, whose latents are kept",
                do="Set stage.init_from, or stage.weights.drift to 0.",
            )
        origin = load_codec(Path(stage.init_from))
        origin.module.requires_grad_(False)
        origin.module.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)
        return origin

    def _fresh(self) -> Codec:
        codec = build_codec(self.stage.codec)
        if isinstance(self.stage.codec, TinyCodecConfig):
            size = self._edge(codec, 2 * self.stage.crop)
            crops = torch.stack([self._crop(g, size) for g in range(256)])
            initialize_linear(codec, crops)
        return codec

    def _edge(self, codec: Codec, wanted: int) -> int:
        """Edge of the crops in pixels: as asked, or what fits into the smallest tile."""
        shortest = min(min(tile_size(self.source, row)) for row in self.split.train)
        return min(wanted, shortest) // codec.factor * codec.factor

    def _crop(self, position: int, size: int) -> Tensor:
        image = to_tensor(self.source.image(self.split.row(position)))
        crop = random_crop(image, size, seed=self.seed, position=position)
        return dihedral(crop, choice(self.seed, "symmetry", position, 8))

    def sample(self, position: int) -> Sample:
        """A crop [3, S, S] in [-1, 1] and the noise that samples its latents."""
        image = self._crop(position, self._size)
        sigma = self.stage.stain_jitter
        side = self._size // self.codec.factor
        return {
            "key": str(self.source.rows[self.split.row(position)]["key"]),
            "image": jitter_stains(image, position, seed=self.seed, sigma=sigma),
            "noise": normal(self.seed, "latent", position, (self.codec.channels, side, side)),
        }

    def collate(self, samples: dict[str, Any]) -> dict[str, Any]:
        """Images [B, 3, S, S] and noise on the device."""
        return {
            "images": place(samples["image"], self.device, self.dtype),
            "noise": samples["noise"].to(self.device, self.dtype),
            "keys": samples["key"],
        }

    def validate(self) -> dict[str, float]:
        """PSNR in dB of whole held-out tiles, per set, and the share of fine detail kept."""
        chosen = self.split.validation_sample(per_set=4)
        scores: list[float] = []
        grains: list[float] = []
        for index in chosen:
            image = self._held_out(index)[None]
            output = self.codec.decode(self.codec.encode(image)[0]).clamp(-1, 1)
            error = ((output - image) / 2).square().mean()
            grains.append(float(laplacian_variance(output) / laplacian_variance(image)))
            scores.append(float(-10 * torch.log10(error)))
        if not chosen:
            return {}
        return {
            **mean_by_set("psnr", [self.source.rows[index] for index in chosen], scores),
            "grain_ratio": float(torch.tensor(grains).median()),
        }

    def _held_out(self, row: int) -> Tensor:
        """A held-out tile, cut to edges that the codec can halve."""
        image = to_tensor(self.source.image(row)).to(self.device, self.dtype)
        height, width = (edge // self.codec.factor * self.codec.factor for edge in image.shape[1:])
        return image[:, :height, :width]

    def picture(self) -> Image.Image | None:
        """Held-out tiles above their reconstructions."""
        chosen = self.split.validation_sample(per_set=1)[:8]
        if not chosen:
            return None
        images = [self._held_out(index) for index in chosen]
        outputs = [self.codec.decode(self.codec.encode(image[None])[0])[0] for image in images]
        return tile_rows([images, outputs])

    def save(self, folder: Path) -> None:
        """Write the codec's folder."""
        save_codec(self.codec, folder)
        finish(
            folder,
            stage="train",
            config=self.stage,
            inputs=self.inputs,
            extra={"kind": "autoencoder"},
        )
