"""The control stage: a ControlNet learns to steer a frozen denoiser by maps of nuclei."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from crafts.conditions.maps import (
    MAP_CHANNELS,
    MAPPINGS,
    image_map,
    render_map,
)
from crafts.conditions.text import CaptionEncoder
from crafts.controls.augment import Move, move_array, move_mask
from crafts.controls.maps import CHANNELS, nuclei_map
from crafts.controls.nuclei import NucleiMask, separate
from crafts.core.errors import ConfigError
from crafts.core.runtime import say
from crafts.data.tiles.augment import dihedral
from crafts.model.bundle import UNKNOWN, load_bundle
from crafts.model.control import (
    Control,
    build_control,
    check_control,
    load_control,
    save_control,
    take_over,
)
from crafts.model.schedule import Schedule
from crafts.training.data import PaintedData, ShardData
from crafts.training.loader import Sample, join
from crafts.training.order import choice, uniform
from crafts.training.sources import (
    ImageSource,
    Split,
    check_tiles,
    open_images,
    place,
    tile_size,
    to_bytes,
    to_tensor,
)
from crafts.training.tasks.config import ControlStage
from crafts.training.tasks.noising import (
    Noising,
    check_last_timestep,
    denoising_errors,
    encode_images,
    freeze,
    image_latents,
)
from crafts.training.tasks.parts import describe_control
from crafts.training.tasks.pictures import steer, tile_rows
from crafts.training.tasks.segmenter import MaskSource, open_masks
from crafts.training.tasks.wording import choose_wording

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT_MASKS = 2048  # 0.7 GB at 256 px
LATENT_BYTES = 2 * 2**30  # kept by one process; 65,000 tiles of 8 x 32 x 32
PICTURED = 4
VALIDATED = 16  # tiles of one size at a time
_NAMED = slice(1, len(CHANNELS) - 2)  # channels of a nuclei map that tell classes


class SteeredNetwork(nn.Module):
    """Denoising loss of a batch that is steered; only the ControlNet has a gradient."""

    def __init__(
        self, control: nn.Module, unet: nn.Module, schedule: Schedule, gamma: float | None
    ) -> None:
        super().__init__()
        self.control, self.unet = control, unet
        self._schedule, self._gamma = schedule, gamma

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The loss, [] (Zhang et al. 2023, arXiv 2302.05543, equation 5)."""
        return {"denoising": self.per_sample(batch).mean()}

    def per_sample(self, batch: dict[str, Tensor], *, steered: bool = True) -> Tensor:
        """Denoising loss of each sample, [B]; unsteered it is that of the denoiser alone."""
        t = batch["t"]
        x_t = self._schedule.add_noise(batch["x0"], batch["noise"], t)
        # a ControlNet of diffusers knows no padding of captions: each length has its own pass
        lengths = batch["mask"].sum(1)
        order, parts = [], []
        for length in lengths.unique().tolist():
            chosen = (lengths == length).nonzero()[:, 0]
            tokens = batch["tokens"][chosen, :length]
            maps = batch["maps"][chosen] if steered else None
            parts.append(self._predict(x_t[chosen], t[chosen], tokens, maps))
            order.append(chosen)
        prediction = torch.cat(parts)[torch.cat(order).argsort()]
        return denoising_errors(prediction, batch, self._schedule, gamma=self._gamma)

    def _predict(self, x_t: Tensor, t: Tensor, tokens: Tensor, maps: Tensor | None) -> Tensor:
        added: dict[str, Any] = {}
        if maps is not None:
            down, middle = self.control(x_t, t, tokens, maps, return_dict=False)
            added = {
                "down_block_additional_residuals": down,
                "mid_block_additional_residual": middle,
            }
        prediction: Tensor = self.unet(
            x_t, t, encoder_hidden_states=tokens, return_dict=False, **added
        )[0]
        return prediction


class ControlTask:
    """What the loop needs to train a ControlNet."""

    def __init__(
        self,
        stage: ControlStage,
        data: PaintedData | ShardData,
        *,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.stage, self.seed, self.device, self.dtype = stage, seed, device, dtype
        self.source = _open(stage, data)
        self.rows = self.source.rows
        self.split = Split(self.rows, data, seed)
        self.bundle = load_bundle(stage.init_from)
        self.inputs = {"data": self.source.fingerprint, "init_from": self.bundle.fingerprint}
        torch.manual_seed(seed)
        self.control = self._control()
        freeze(self.bundle, device, dtype)
        network = self.control.module.to(device=device, dtype=dtype).requires_grad_(True)
        for part in (self.bundle.denoiser, network):
            part.to(memory_format=torch.channels_last)
            if stage.gradient_checkpointing:
                part.enable_gradient_checkpointing()
        side = check_tiles(
            self.source,
            self.split,
            factor=self.bundle.codec.factor,
            crop=stage.crop,
            multiple=2 ** (len(self.control.module.down_blocks) - 1),
        )
        if stage.crop is None and side != self.bundle.native_size:
            say(f"the tiles are {side} px and the denoiser makes {self.bundle.native_size} px")
        check_last_timestep(self.bundle.schedule, stage.min_snr_gamma)
        self.captions = CaptionEncoder(
            self.bundle.text, stage.max_chunks, device=device, dtype=dtype
        )
        self.captions.say_what_is_cut([str(self.rows[i].get("text", "")) for i in self.split.train])
        self.network = SteeredNetwork(
            network, self.bundle.denoiser, self.bundle.schedule, stage.min_snr_gamma
        ).train()
        self.weights = {"denoising": 1.0}
        self.objective = None  # every sample has its loss for itself
        self._mask = lru_cache(KEPT_MASKS)(self._read_mask)
        self.noising = Noising(seed, self.bundle.schedule.num_timesteps, stage.crop)
        self._known: dict[tuple[int, int], tuple[Tensor, Tensor | None]] = {}
        self._free = LATENT_BYTES

    def _control(self) -> Control:
        """A fresh ControlNet, or the one to go on from, which may be of another kind."""
        stage = self.stage
        build = partial(
            build_control,
            self.bundle.denoiser,
            kind=stage.control,
            channels=MAP_CHANNELS[stage.control],
            factor=self.bundle.codec.factor,
            mapping=MAPPINGS[stage.control],
        )
        if stage.control_from is None:
            return build(widths=stage.widths)
        source = load_control(Path(stage.control_from))
        check_control(source, self.bundle, where="train: stage.control_from")
        self.inputs["control_from"] = source.fingerprint
        if source.kind == stage.control:
            return source
        say(f"a ControlNet for {source.kind} is taught {stage.control}; it reads the map anew")
        return take_over(build(widths=source.widths), source)

    def _size(self, row: int) -> tuple[int, int]:
        return tile_size(self.source, row)

    def sample(self, position: int) -> Sample:
        """A tile in one of its symmetries, its map moved with it, and what decides its latents."""
        row, seed, factor = self.split.row(position), self.seed, self.bundle.codec.factor
        symmetry = choice(seed, "symmetry", position, 8)
        image = dihedral(to_bytes(self.source.image(row)), symmetry)
        shown = self.noising.image(image, position, self.bundle.codec)
        top, left, cells = shown["box"] or (0, 0, image.shape[2] // factor)
        moves = (
            Move(0, 0, *self._size(row), symmetry),
            Move(top * factor, left * factor, cells * factor, cells * factor),
        )
        values = self._map(row, moves)
        if self.stage.control == "nuclei" and self._drops("class", position):
            values[_NAMED] = 0
        wording = choose_wording(self.rows[row], seed=seed, position=position)
        return shown | {
            "key": str(self.rows[row]["key"]),
            "caption": "" if self._drops("caption", position) else wording,
            "tile": (row, symmetry),
            "map": torch.from_numpy(values),
        }

    def _held_out(self, row: int) -> Sample:
        """A whole held-out tile; its row decides noise and timestep, in every run alike."""
        noising, image = Noising(0, self.noising.num_timesteps), to_bytes(self.source.image(row))
        return noising.image(image, row, self.bundle.codec, drawn=False) | {
            "caption": str(self.rows[row].get("text", "")),
            "tile": (row, 0),
            "map": torch.from_numpy(self._map(row)),
        }

    def collate(self, samples: dict[str, Any]) -> dict[str, Any]:
        """Clean latents, maps, noise, timesteps and text of samples that were joined."""
        return self._place(samples) | {"keys": samples["key"]}

    def _place(self, samples: dict[str, Any]) -> dict[str, Any]:
        x0 = image_latents(self._moments(samples["tile"], samples["image"]), samples)
        placed = {"x0": x0, "noise": samples["noise"], "maps": samples["map"]}
        return {
            **{name: place(value, self.device, self.dtype) for name, value in placed.items()},
            "t": samples["t"].to(self.device),
            **self.captions.encode(samples["caption"]),
        }

    def _map(self, row: int, moves: Sequence[Move] = ()) -> NDArray[np.float32]:
        """Control map of a tile that is moved; that of a mask is made after it."""
        if self.stage.control == "nuclei":
            mask = self._mask(row)
            for move in moves:
                mask = move_mask(mask, move)
            return nuclei_map(mask)
        values = image_map(self.source.image(row))
        for move in moves:
            values = move_array(values, move)
        return values

    def _read_mask(self, row: int) -> NucleiMask:
        return separate(cast(MaskSource, self.source).mask(row))  # as _open gives for nuclei

    def _moments(
        self, tiles: Sequence[tuple[int, int]], images: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor | None]]:
        """Mean and deviation (None: 0) of the latents [C, h, w] of tiles in a symmetry; kept."""
        known = {tile: self._known[tile] for tile in tiles if tile in self._known}
        new = {tile: image for tile, image in zip(tiles, images, strict=True) if tile not in known}
        if new:
            made = encode_images(
                self.bundle, list(new.values()), device=self.device, dtype=self.dtype
            )
            known |= {
                tile: (mean.cpu(), None if std is None else std.cpu())
                for tile, (mean, std) in zip(new, made, strict=True)
            }
        for tile in new:
            mean, std = known[tile]
            size = mean.nbytes * (1 if std is None else 2)
            if size <= self._free:
                self._known[tile] = mean, std
                self._free -= size
        return [known[tile] for tile in tiles]

    def _drops(self, what: Literal["caption", "class"], position: int) -> bool:
        share = {"caption": self.stage.caption_dropout, "class": self.stage.class_dropout}[what]
        return uniform(self.seed, f"{what} dropout", position) < share

    def validate(self) -> dict[str, float]:
        """Loss of whole held-out tiles at fixed noise and timesteps, and without their maps."""
        chosen = sorted(self.split.validation_sample(per_set=16), key=self._size)
        alike = [list(rows) for _, rows in groupby(chosen, key=self._size)]
        parts = [rows[k : k + VALIDATED] for rows in alike for k in range(0, len(rows), VALIDATED)]
        found: dict[str, list[float]] = {}
        for part in parts:
            batch = self._place(join([self._held_out(row) for row in part]))
            losses = {
                "denoising": self.network.per_sample(batch).tolist(),
                "uncontrolled": self.network.per_sample(batch, steered=False).tolist(),
            }
            for name, values in losses.items():
                found.setdefault(name, []).extend(values)
            for row, loss in zip(part, losses["denoising"], strict=True):
                found.setdefault(f"denoising/{self.rows[row].get('set', '')}", []).append(loss)
        return {name: sum(v) / len(v) for name, v in found.items() if not name.endswith("/")}

    def picture(self) -> Image.Image | None:
        """Maps, real tiles, and what is generated from the maps alone; of the denoiser's size."""
        side = self.bundle.native_size
        rows = self.split.validation_sample(per_set=1) or self.split.train
        rows = [row for row in rows if self._size(row) == (side, side)][:PICTURED]
        if not rows:
            return None
        maps = {str(row): self._map(row) for row in rows}
        made = steer(self.bundle, self.control, maps)
        shown = [to_tensor(render_map(values)) for values in maps.values()]
        real = [to_tensor(self.source.image(row)) for row in rows]
        return tile_rows([shown, real, [to_tensor(image) for image in made]])

    def save(self, folder: Path) -> None:
        """Write the ControlNet's folder."""
        stage = self.stage
        control = Control(
            module=self.control.module,
            kind=stage.control,
            channels=self.control.channels,
            mapping=self.control.mapping,
            denoiser=self.bundle.fingerprint,
            licence=self.bundle.licence if stage.licence == UNKNOWN else stage.licence,
        )
        save_control(
            control,
            folder,
            card=describe_control(control, stage, self.inputs),
            stage="train",
            config=stage.model_dump(mode="json"),
            inputs=self.inputs,
        )


def _open(stage: ControlStage, data: PaintedData | ShardData) -> ImageSource:
    """Images, with their masks where nuclei control."""
    if not isinstance(data, PaintedData | ShardData):
        raise ConfigError(
            "train: data.kind",
            came=data.kind,
            allowed="shards or painted: a map is made from a tile's mask or pixels",
            do="Name the shards; their latents are encoded once and kept.",
        )
    return open_masks(data) if stage.control == "nuclei" else open_images(data)
