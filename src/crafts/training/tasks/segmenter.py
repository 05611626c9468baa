"""The segmenter stage: H&E tiles and their nuclei masks to a network that finds nuclei."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from crafts.controls.maps import CHANNELS, nuclei_map
from crafts.controls.nuclei import NucleiMask, find_edges, label_classes, separate
from crafts.core.artifacts import finish, sha256_file
from crafts.core.errors import DataError
from crafts.data.tiles.augment import dihedral
from crafts.losses.segmentation import class_loss, distance_loss, nucleus_loss
from crafts.model.segmenter import (
    Segmenter,
    SegmenterNetwork,
    allowed_classes,
    build_segmenter,
    load_segmenter,
    save_segmenter,
)
from crafts.training.data import PaintedData, ShardData
from crafts.training.loader import Sample
from crafts.training.order import choice
from crafts.training.sources import (
    CachedImages,
    ImageSource,
    PaintedSource,
    Split,
    jitter_stains,
    mean_by_set,
    place,
    random_crop,
    to_tensor,
)
from crafts.training.tasks.config import SegmenterStage
from crafts.training.tasks.pictures import tile_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EDGE = (-1.0, 1.0, -1.0)  # green shows on pink and on blue


class SegmenterNetworkLosses(nn.Module):
    """Losses of a batch of tiles and masks."""

    def __init__(self, network: SegmenterNetwork) -> None:
        super().__init__()
        self.segmenter = network
        names = network.config.classes
        self.allowed: Tensor
        allowed = torch.from_numpy(allowed_classes(names))
        self.register_buffer("allowed", allowed, persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses by name, each []."""
        found, classes = self.segmenter(batch["images"]), batch["classes"]
        losses = {
            "nucleus": nucleus_loss(found.nucleus, (classes > 0).to(found.nucleus)),
            "distance": distance_loss(found.distance, batch["distance"]),
        }
        if self.segmenter.config.classes:
            losses["classes"] = class_loss(found.classes, classes, self.allowed)
        return losses


class MaskSource(ImageSource, Protocol):
    """Images with their rows and their masks."""

    def mask(self, index: int) -> NucleiMask:
        """Its nuclei."""
        ...


class PackedMasks(CachedImages):
    """Tiles of shards that have a mask; others are left out."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._places = [i for i, row in enumerate(self.rows) if row.get("mask_size")]
        if not self._places:
            raise DataError(
                str(folder),
                came="no tile with a mask",
                allowed="shards packed from a table with a column `mask`",
                do="Name the mask of each tile in metadata.csv and run `crafts pack` again.",
            )
        self.rows = [self.rows[i] for i in self._places]

    def image(self, index: int) -> np.ndarray:
        """Image [H, W, 3], uint8."""
        return super().image(self._places[index])

    def mask(self, index: int) -> NucleiMask:
        """Its nuclei."""
        found = self._reader.mask(self._places[index])
        assert found is not None
        return NucleiMask(found.classes, found.instances, source=str(self.rows[index]["key"]))


class PaintedMasks(PaintedSource):
    """Painted tiles with the nuclei that were painted."""

    def __init__(self, config: PaintedData) -> None:
        super().__init__(config)
        self._config = config

    def mask(self, index: int) -> NucleiMask:
        """Its nuclei."""
        from crafts.data.painter import paint_tile

        tile = paint_tile(seed=self._config.seed, index=index, size=self._config.size)
        classes = label_classes(tile.classes, "lizard", where="painted tile")
        return NucleiMask(classes, tile.instances.astype(np.int32), source="painted tile")


def open_masks(data: PaintedData | ShardData) -> MaskSource:
    """The images and masks of a recipe's ``data`` section.

    Raises:
        DataError: no tile has a mask.
    """
    return PaintedMasks(data) if isinstance(data, PaintedData) else PackedMasks(Path(data.folder))


class SegmenterTask:
    """What the loop needs to train a segmenter."""

    def __init__(
        self,
        stage: SegmenterStage,
        data: PaintedData | ShardData,
        *,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.stage, self.seed, self.device, self.dtype = stage, seed, device, dtype
        self.source = open_masks(data)
        self.split = Split(self.source.rows, data, seed)
        self.inputs = {"data": self.source.fingerprint}
        torch.manual_seed(seed)
        if stage.init_from:
            network = load_segmenter(Path(stage.init_from)).network.requires_grad_(True).train()
            weights = Path(stage.init_from) / "model.safetensors"
            self.inputs["init_from"] = sha256_file(weights)
        else:
            network = build_segmenter(stage.network)
        nn.Module.to(network, device=device, dtype=dtype)
        self.segmenter = Segmenter(network)
        self.network: nn.Module = SegmenterNetworkLosses(network).to(device)
        self.weights = stage.weights.model_dump()
        self.objective = None  # every sample has its loss for itself
        self._seen: dict[int, NDArray[np.uint8]] = {}

    def _targets(self, row: int) -> NDArray[np.uint8]:
        """Classes and depth [2, H, W] of a tile, depth in 255ths; kept, for nuclei take long."""
        if row not in self._seen:
            mask = separate(self.source.mask(row))
            depth = nuclei_map(mask)[CHANNELS.index("distance")]
            self._seen[row] = np.stack([mask.classes, np.round(255 * depth).astype(np.uint8)])
        return self._seen[row]

    def _crop(self, position: int) -> tuple[Tensor, Tensor]:
        row = self.split.row(position)
        image = to_tensor(self.source.image(row))
        both = torch.cat([image, torch.from_numpy(self._targets(row)).float()])
        size = min(self.stage.crop, *both.shape[1:])
        both = random_crop(both, size, seed=self.seed, position=position)
        both = dihedral(both, choice(self.seed, "symmetry", position, 8))
        return both[:3], both[3:]

    def sample(self, position: int) -> Sample:
        """A crop [3, S, S] in [-1, 1], and classes and depth [2, S, S] of its pixels."""
        image, target = self._crop(position)
        sigma = self.stage.stain_jitter
        return {
            "key": str(self.source.rows[self.split.row(position)]["key"]),
            "image": jitter_stains(image, position, seed=self.seed, sigma=sigma),
            "target": target,
        }

    def collate(self, samples: dict[str, Any]) -> dict[str, Any]:
        """Images [B, 3, S, S], classes and depth [B, S, S] on the device."""
        targets = samples["target"].to(self.device)
        return {
            "images": place(samples["image"], self.device, self.dtype),
            "classes": targets[:, 0].long(),
            "distance": (targets[:, 1] / 255).to(self.dtype),
            "keys": samples["key"],
        }

    def validate(self) -> dict[str, float]:
        """Dice of held-out tiles, per set and on average; an empty tile rightly left so has 1."""
        chosen = self.split.validation_sample(per_set=8)
        scores: list[float] = []
        for row in chosen:
            found = self.segmenter(self.source.image(row)).classes > 0
            true = self.source.mask(row).classes > 0
            total = int(found.sum() + true.sum())
            scores.append(2 * int((found & true).sum()) / total if total else 1.0)
        return mean_by_set("dice", [self.source.rows[row] for row in chosen], scores)

    def picture(self) -> Image.Image | None:
        """Held-out tiles with the edges of true nuclei, above those with what was found."""
        chosen = self.split.validation_sample(per_set=2)[:12]
        if not chosen:
            return None
        images = [self.source.image(row) for row in chosen]
        true = [separate(self.source.mask(row)) for row in chosen]
        found = [self.segmenter(image) for image in images]
        return tile_rows(
            [
                [_outline(image, mask) for image, mask in zip(images, masks, strict=True)]
                for masks in (true, found)
            ]
        )

    def save(self, folder: Path) -> None:
        """Write the segmenter's folder."""
        save_segmenter(self.segmenter.network, folder)
        finish(
            folder,
            stage="train",
            config=self.stage,
            inputs=self.inputs,
            extra={"kind": "segmenter"},
        )


def _outline(image: np.ndarray, mask: NucleiMask) -> Tensor:
    """A tile [3, H, W] in [-1, 1] with its nuclei outlined."""
    assert mask.instances is not None
    edges = torch.from_numpy(find_edges(mask.instances))
    return torch.where(edges, torch.tensor(_EDGE)[:, None, None], to_tensor(image))
