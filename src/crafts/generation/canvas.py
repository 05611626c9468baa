"""One picture larger than a tile: from its prompts to rows of pixels on the disk, band by band."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from crafts.conditions.condition import Bound, bind
from crafts.conditions.networks import number_conditioners
from crafts.core.artifacts import sha256_bytes
from crafts.core.disk import replacing
from crafts.core.errors import ConfigError, RetryError
from crafts.core.progress import Progress
from crafts.core.runtime import say
from crafts.generation.plan import Item, Plan
from crafts.generation.prompt_map import PromptMap
from crafts.model.files.folders import save_tensors
from crafts.sampling.draws import encode_draws
from crafts.sampling.network import network_denoiser
from crafts.sampling.sampler import check_latents
from crafts.sampling.strips import StripDecoder
from crafts.sampling.windows import (
    BAND,
    Grid,
    build_grid,
    build_steps,
    noise_band,
    planes_of,
)
from crafts.slides.writing.rasters import Raster

if TYPE_CHECKING:
    from crafts.model.bundle import Bundle

CANVAS_VERSION = 1
"""Raise it when a change moves the pixels of canvases, so that begun ones are not gone on with."""

PIXELS, STATE = "pixels.0", "state.safetensors"
_LEAST, _MOST = 0.05, 0.9  # share of a window that overlaps with the next


@dataclass(frozen=True)
class Canvas:
    """A picture to be made.

    Attributes:
        item: its draw and provenance.
        prompts: where which prompt holds; knows the size.
        plan: of the run.
    """

    item: Item
    prompts: PromptMap
    plan: Plan

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.prompts.size

    @property
    def request(self) -> str:
        """Hash of all that decides the pixels."""
        options = self.plan.config.canvas
        decides = [
            *(CANVAS_VERSION, self.item.provenance.request, self.size, self.prompts.fingerprint),
            *(options.overlap, options.border if self.prompts.fingerprint else 0),
        ]
        return sha256_bytes(json.dumps(decides).encode())


def parse_size(size: str | None, bundle: Bundle) -> tuple[int, int] | None:
    """Width and height of a picture beyond one tile; None for one tile.

    Args:
        size: ``PX`` or ``WxH``; None is one tile.
        bundle: the model.

    Raises:
        ConfigError: no multiple of the model's latents, or smaller than its tile.
    """
    tile, factor = bundle.native_size, bundle.codec.factor
    across, _, down = (size or str(tile)).partition("x")
    width, height = int(across), int(down or across)
    if (width, height) == (tile, tile):
        return None
    if width % factor or height % factor or min(width, height) < tile:
        raise ConfigError(
            "--size",
            came=str(size),
            allowed=f"{tile}, the tile of this model, or more each way, in multiples of {factor}",
            do=f"Ask for {max(tile, -(-width // factor) * factor)}x"
            f"{max(tile, -(-height // factor) * factor)}.",
        )
    return width, height


def check_disk(canvas: Canvas, folder: Path) -> None:
    """Refuse a canvas that the disk has no room for, before hours go into it.

    Pixels lie there twice at the end, with all levels: as they were made, and in the file.

    Args:
        canvas: to be made.
        folder: for its pixels; what a killed run left there is counted.

    Raises:
        RetryError: says how much is missing.
    """
    width, height = canvas.size
    there = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
    needed = 3 * width * height * 8 // 3 - there
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise RetryError(
            str(folder.parent),
            came=f"{free / 2**30:.1f} GiB of free space for {width}x{height} pixels",
            allowed=f"{needed / 2**30:.1f} GiB, most of which is free again at the end",
            do="Free space, choose another --output, or ask for a smaller --size.",
        )


def paint(canvas: Canvas, folder: Path) -> tuple[Raster, str]:
    """Sample and decode a canvas; a killed run goes on at the last band, with the same bytes.

    Args:
        canvas: what to make.
        folder: for the pixels and the state of the sampler.

    Returns:
        The rows, and the ends of prompts that the text encoder did not see.

    Raises:
        DataError: latents that are not finite.
        RetryError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pipe = _Pipe(canvas)
    pixels = Raster(folder / PIXELS, *canvas.size)
    begun = pipe.restore(folder / STATE)
    if not begun:  # what lies there is of another request
        for path in folder.glob(f"{pixels.path.stem}.*"):
            path.unlink()
    else:
        say(f"generate: {canvas.item.row_id}: goes on at band {begun + 1} of {pipe.bands}")
    before = pipe.seen
    width, height = canvas.size
    progress = Progress(f"generate: {width}x{height}", pipe.windows - before, "windows")
    for band in range(begun, pipe.bands):
        top = pipe.decoder.done * pipe.factor
        rows = pipe.noise(band)
        for step in pipe.steps:
            rows = step.push(rows)
            progress.report(max(pipe.seen - before, 1), f"{top} of {height} rows are on the disk")
        check_latents(rows[:1], [canvas.item.draw])
        pixels.write(top, pipe.decoder.push(rows[0]))
        pipe.save(folder / STATE, band + 1)
    return pixels, "\n".join(told.cut for told in pipe.features if told.cut)


class _Pipe:
    """The steps of the sampler and the decoder, with all that they hold."""

    def __init__(self, canvas: Canvas) -> None:
        plan, draw = canvas.plan, canvas.item.draw
        bundle, options = plan.bundle, plan.config.canvas
        self.canvas, self.factor = canvas, bundle.codec.factor
        self.channels = bundle.codec.channels
        self.width, self.height = (side // self.factor for side in canvas.size)
        self.bands = -(-self.height // BAND)
        self.device = next(bundle.denoiser.parameters()).device
        draws = [replace(draw, prompt=prompt) for prompt in canvas.prompts.prompts]
        self.features = encode_draws(bundle.text, draws)
        edge = bundle.native_size // self.factor
        overlap = min(max(round(options.overlap * edge), 1), edge - 1)
        border = round(options.border / 2 / self.factor) if canvas.prompts.fingerprint else 0

        def grid(step: int) -> Grid:
            return build_grid(self.height, self.width, edge=edge, overlap=overlap, step=step)

        self.steps = build_steps(
            network_denoiser(bundle.denoiser, self._told()),
            self.features,
            replace(plan.preset, guidance_scale=draw.guidance_scale),
            bundle.schedule.config,
            grids=grid,
            shares=partial(canvas.prompts.shares, pixel=self.factor, border=border),
            batch_size=plan.config.batch_size,
        )
        self.decoder = StripDecoder(bundle.codec, self.height)

    def _told(self) -> list[Bound]:
        """What all windows are told beside their text: the power that they are seen at."""
        plan, draw = self.canvas.plan, self.canvas.item.draw
        known = number_conditioners(plan.bundle.conditions)
        return bind(known, [draw.conditions], torch.empty(0), self.device)

    @property
    def windows(self) -> int:
        """Windows of all steps."""
        return sum(len(step.grid.rows) * len(step.grid.columns) for step in self.steps)

    @property
    def seen(self) -> int:
        """Windows of all steps that were predicted."""
        return sum(step.seen * len(step.grid.columns) for step in self.steps)

    def noise(self, band: int) -> torch.Tensor:
        """Rows [K, C, r, w] that begin; what the solver remembers of them is nothing."""
        rows = min(BAND, self.height - band * BAND)
        noise = noise_band(self.canvas.item.draw.number, band, (self.channels, rows, self.width))
        planes = planes_of(self.steps[0].scheduler)
        return torch.stack([noise, *[torch.zeros_like(noise)] * (planes - 1)]).to(self.device)

    def _parts(self) -> dict[str, Any]:
        return {f"step{n}": step for n, step in enumerate(self.steps)} | {"decoder": self.decoder}

    def save(self, path: Path, band: int) -> None:
        """Write the state behind so many bands, in one step."""
        tensors = {
            f"{part}.{name}": tensor
            for part, holder in self._parts().items()
            for name, tensor in holder.state().items()
        }
        with replacing(path) as temporary:
            told = {"request": self.canvas.request, "band": str(band)}
            save_tensors(tensors, temporary, metadata=told)

    def restore(self, path: Path) -> int:
        """Take a state up again; the number of bands behind it, 0 where there is none of use."""
        try:
            with safe_open(path, "pt", device=str(self.device)) as file:
                told = file.metadata() or {}
                if told.get("request") != self.canvas.request:
                    return 0
                for part, holder in self._parts().items():
                    names = [n for n in file.keys() if n.startswith(f"{part}.")]  # noqa: SIM118
                    holder.restore({n.partition(".")[2]: file.get_tensor(n) for n in names})
                return int(told["band"])
        except (OSError, SafetensorError):  # none, or cut short: begun anew
            return 0
