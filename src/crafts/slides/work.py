"""What the processes of ``crafts tile`` do: plan one slide, and cut one block of its tiles.

Both are functions of the slide and the configuration alone; they leave a JSON file as the last
thing they write.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crafts.core.artifacts import sha256_bytes, write_bytes
from crafts.core.errors import DataError
from crafts.slides.config import TileConfig
from crafts.slides.grid import TooCoarseError, View, crop_of
from crafts.slides.quality import find_fault, has_filler
from crafts.slides.reading.channels import choose_channels, color_channels, measure_range
from crafts.slides.reading.reader import Slide, open_slide
from crafts.slides.reading.resolution import SlideReadError
from crafts.slides.siting.places import Layout, Places, lay_out
from crafts.slides.siting.regions import find_region_file, map_regions
from crafts.slides.stain import StainFit, StainRefusedError, fit_stain, normalize_stain
from crafts.slides.tissue import TissueMap, map_tissue, saturation_of

PLAN, UNREADABLE = "plan.json", "unreadable region"
# zlib's run-length strategy: on tissue as small as the default, in a third of the time
PNG_OPTIONS = {"compress_type": 3}

Tile = tuple[int, int, float | None, str]
"""x, y, share of tissue (None where nobody looked) and region of a planned tile."""


@dataclass(frozen=True)
class SlideJob:
    """A slide to be tiled.

    Attributes:
        name: of the slide.
        path: of the slide.
        mpp: microns per pixel from the csv.
        config: of the stage.
        folder: where results go; it exists.
        places: what is asked for on it; None lays out a grid.
    """

    name: str
    path: Path
    mpp: float | None
    config: TileConfig
    folder: Path
    places: Places | None = None


def plan_slide(job: SlideJob) -> None:
    """Find the tiles of a slide; writes ``plan.json``, which holds ``fault`` where it has none."""
    try:
        plan = _plan(job)
    except (DataError, TooCoarseError) as error:
        plan = {"fault": str(error)}
    _write_json(job.folder / PLAN, plan)


def cut_block(job: SlideJob, start: int, stop: int) -> None:
    """Cut some of the planned tiles; writes images and ``block-<start>.json``."""
    plan = json.loads((job.folder / PLAN).read_bytes())
    method = job.config.stain.method
    fit = StainFit(method, plan["stain"]) if method != "none" and plan["stain"] else None
    rows, rejects = [], []
    with _open(job) as slide:
        view = View.from_json(plan["slide"]["view"])
        for x, y, fraction, region in plan["tiles"][start:stop]:
            try:
                pixels = read_tile(slide, x, y, view, job.config.size)
                picture = _checked(pixels, slide, fraction, plan, job.config)
            except _RejectedTileError as rejected:
                rejects.append((x, y, str(rejected)))
                continue
            except SlideReadError as error:
                rejects.append((x, y, f"{UNREADABLE}: {error.came}"))
                continue
            refused = plan["stain_refused"]
            if fit is not None:
                try:
                    picture = normalize_stain(picture, fit)
                except StainRefusedError as refusal:
                    refused = str(refusal)
            row = _save(picture, (x, y, fraction, region), view, job)
            rows.append(row | {"stain_refused": refused})
    _write_json(job.folder / block_name(start), {"rows": rows, "rejects": rejects})


def block_name(start: int) -> str:
    """File that holds the outcome of a block."""
    return f"block-{start:08d}.json"


def read_tile(slide: Slide, x: int, y: int, view: View, size: int) -> NDArray[Any]:
    """The pixels of one tile, [size, size, C].

    Raises:
        SlideReadError: the region cannot be decoded, or the library gives less than it was asked,
            or fills in what is missing.
        _RejectedTileError: the scanner left a part of it out.
    """
    crop = crop_of(x, y, view, size, slide.sizes[view.level])
    region = slide.read(crop.x, crop.y, view.level, width=crop.width, height=crop.height)
    if region.unscanned > 0:
        raise _RejectedTileError(f"not scanned: share {region.unscanned:.3f}")
    if region.pixels.shape[:2] != (crop.height, crop.width):
        raise _incomplete(slide, f"{region.pixels.shape[:2]} px of {(crop.height, crop.width)}")
    if not slide.is_fluorescence and has_filler(region.pixels):
        raise _incomplete(slide, "grey filler where a JPEG ends early")
    if view.is_exact:
        return region.pixels
    return _resize(region.pixels, crop.box, size)


def _incomplete(slide: Slide, came: str) -> SlideReadError:
    return SlideReadError(
        str(slide.path), came=came, allowed="the whole region", do="Copy the slide again."
    )


class _RejectedTileError(Exception):
    """A tile that is no good; the message is the reason."""


def _resize(
    pixels: NDArray[Any], box: tuple[float, float, float, float], size: int
) -> NDArray[Any]:
    """Antialiased, with the fractional edges of the box."""
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        picture = Image.fromarray(pixels)
        return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS, box=box))
    channels = [
        np.asarray(
            Image.fromarray(pixels[..., i].astype(np.float32)).resize(
                (size, size), Image.Resampling.BILINEAR, box=box
            )
        )
        for i in range(pixels.shape[2])
    ]
    return np.rint(np.stack(channels, -1)).astype(pixels.dtype)


def _open(job: SlideJob) -> Slide:
    return open_slide(job.path, mpp=job.mpp, reader=job.config.reader)


def _plan(job: SlideJob) -> dict[str, Any]:
    config = job.config
    with _open(job) as slide:
        _refuse_turned(slide, config, job.places)
        shown = choose_channels(slide, config.channels) if slide.is_fluorescence else None
        own = slide.resolution.x, slide.resolution.y
        layout = lay_out(slide.sizes, own, config, job.places)
        gated = config.tissue.method != "none" and not slide.is_fluorescence
        tissue = map_tissue(slide, config.tissue) if gated else None
        names, left_out = _regions(job, slide, layout)
        tiles, rejects = _sift(job, names, layout, tissue)
        facts = _facts(slide, layout, tissue) | {"shown": shown}
        facts["notes"] += left_out
        if not tiles and not rejects:
            facts["notes"].append(_why_nothing(layout, config))
        return {
            "fault": "",
            "slide": facts,
            "threshold": tissue.threshold if tissue else 0.0,
            "tiles": tiles,
            "rejects": rejects,
            "mask": base64.b64encode(tissue.to_png()).decode() if tissue else "",
            "mapping": measure_range(slide) if slide.is_fluorescence else None,
            **_fit(slide, layout.view, tiles, config),
        }


def _refuse_turned(slide: Slide, config: TileConfig, places: Places | None) -> None:
    """Coordinates and masks may be of the stored or of the upright picture.

    Raises:
        SlideReadError: EXIF turns the slide, and places or regions are given for it.
    """
    turned = slide.properties.get("crafts.orientation")
    if turned and (places is not None or config.regions.folder is not None):
        raise SlideReadError(
            str(slide.path),
            came=f"a picture that is turned (EXIF orientation {turned}), with places or regions",
            allowed="pixels stored upright, where coordinates count",
            do="Save the picture upright.",
        )


def _sift(
    job: SlideJob, names: Sequence[str | None], layout: Layout, tissue: TissueMap | None
) -> tuple[list[Tile], list[tuple[int, int, str]]]:
    """Tiles to cut, and the others that are listed: with tissue on a grid, all that are named."""
    x, y, limit = layout.x, layout.y, job.config.tissue.min_fraction
    share = np.full(len(x), np.nan) if tissue is None else tissue.fractions(x, y, layout.extent)
    beyond = np.array([name is None for name in names], bool)
    few = share < limit  # an unknown share is asked of the tile itself
    listed = ~(beyond | (share <= 0)) if layout.grid else np.ones(len(x), bool)
    chosen = listed & layout.inside & ~beyond & ~few
    tiles = [
        (int(x[i]), int(y[i]), _number(share[i]), names[i] or "")
        for i in np.flatnonzero(chosen).tolist()
    ]
    rejects = []
    for i in np.flatnonzero(listed & ~chosen):
        reason = f"little tissue: share {share[i]:.3f}, below {limit:g}"
        if not layout.inside[i]:
            reason = "outside of the slide"
        elif beyond[i]:
            reason = "outside of the regions"
        rejects.append((int(x[i]), int(y[i]), reason))
    return tiles, rejects


def _why_nothing(layout: Layout, config: TileConfig) -> str:
    if len(layout.x) == 0:
        return "smaller than one tile"
    return "no tissue found" if config.regions.folder is None else "no tissue in its regions"


def _facts(slide: Slide, layout: Layout, tissue: TissueMap | None) -> dict[str, Any]:
    notes = [*slide.resolution.warnings, slide.properties.get("crafts.note", "")]
    columns, rows = layout.grid or (None, None)
    return {
        "reader": slide.reader,
        "width": slide.sizes[0][0],
        "height": slide.sizes[0][1],
        "level_sizes": slide.sizes,
        "mpp_x": slide.resolution.x,
        "mpp_y": slide.resolution.y,
        "mpp_source": slide.resolution.source,
        "icc_profile": slide.has_profile,
        "channels": slide.channels,
        "imaging": "fluorescence" if slide.is_fluorescence else "brightfield",
        "notes": [note for note in notes if note],
        "view": asdict(layout.view),
        "grid": {"columns": columns, "rows": rows, "extent": layout.extent},
        "tissue": None
        if tissue is None
        else {"threshold": tissue.threshold, "share": round(float(tissue.mask.mean()), 6)},
    }


def _regions(job: SlideJob, slide: Slide, layout: Layout) -> tuple[list[str | None], list[str]]:
    """For each tile the class of the area that covers most of it, and what was left out.

    Outside of all areas it is None.
    """
    config = job.config.regions
    if config.folder is None or len(layout.x) == 0:
        return [""] * len(layout.x), []
    path = find_region_file(config.folder, job.name)
    if path is None:
        raise SlideReadError(
            job.name,
            came=f"no file of regions in {config.folder}",
            allowed=f"{job.name}.geojson, .geojson.gz or .png",
            do="Add it, or leave the slide out.",
        )
    tally = Counter[str]()
    maps = map_regions(path, config, slide.sizes[0], min(layout.extent) / 32, tally)
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(tally.items()))
    left_out = [f"{path.name}: left out, as without area: {kinds}"] if tally else []
    if not maps:
        return [None] * len(layout.x), left_out
    names = list(maps)
    shares = np.stack([maps[name].fractions(layout.x, layout.y, layout.extent) for name in names])
    best = shares.argmax(0)
    covered = np.minimum(shares.sum(0), 1) >= config.min_fraction
    found = [names[i] if inside else None for i, inside in zip(best, covered, strict=True)]
    return found, left_out


def _fit(slide: Slide, view: View, tiles: Sequence[Tile], config: TileConfig) -> dict[str, Any]:
    """The stain of a slide from evenly spread tiles, or why there is none."""
    none = {"stain": None, "stain_refused": ""}
    if config.stain.method == "none" or slide.is_fluorescence or not tiles:
        return none
    picks = np.unique(np.linspace(0, len(tiles) - 1, config.stain.sample_tiles).astype(int))
    found = []
    for x, y, *_ in (tiles[i] for i in picks):
        try:
            pixels = read_tile(slide, x, y, view, config.size)
        except (SlideReadError, _RejectedTileError):
            continue
        if find_fault(pixels, config.gates) is None:
            found.append(pixels.reshape(-1, 3))
    if not found:
        return {"stain": None, "stain_refused": "tissue"}
    try:
        fit = fit_stain(np.concatenate(found), config.stain.method)
    except StainRefusedError as refusal:
        return {"stain": None, "stain_refused": str(refusal)}
    return {"stain": fit.values, "stain_refused": ""}


def _checked(
    pixels: NDArray[Any],
    slide: Slide,
    fraction: float | None,
    plan: dict[str, Any],
    config: TileConfig,
) -> NDArray[np.uint8]:
    """A tile that passed the gates, as RGB.

    Raises:
        _RejectedTileError: with the reason.
    """
    if slide.is_fluorescence:
        if not np.isfinite(pixels).all():
            raise _RejectedTileError("values that are not finite")
        return color_channels(pixels, plan["mapping"], plan["slide"]["shown"])
    if fraction is None and plan["threshold"]:
        share = float((saturation_of(pixels) > plan["threshold"]).mean())
        if share < config.tissue.min_fraction:
            raise _RejectedTileError(f"little tissue: share {share:.3f} (low power unreadable)")
    if fault := find_fault(pixels, config.gates):
        raise _RejectedTileError(fault)
    return pixels


def _save(
    pixels: NDArray[np.uint8],
    tile: Tile,
    view: View,
    job: SlideJob,
) -> dict[str, Any]:
    x, y, fraction, region = tile
    name = f"x{x:07d}-y{y:07d}.{job.config.image_format}"
    data = encode_tile(pixels, view.mpp, job.config)
    (job.folder / name).write_bytes(data)
    return {
        "name": name,
        "x": x,
        "y": y,
        "tissue": fraction,
        "region": region,
        "size": len(data),
        "sha256": sha256_bytes(data),
    }


def encode_tile(pixels: NDArray[np.uint8], mpp: tuple[float, float], config: TileConfig) -> bytes:
    """A tile as a file that says its physical size to programs that ask for dots per inch."""
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    dpi = 25_400 / mpp[0], 25_400 / mpp[1]
    if config.image_format == "png":
        picture.save(buffer, "PNG", dpi=dpi, **PNG_OPTIONS)
    else:  # JFIF counts dots in 16 bits
        dots = min(round(dpi[0]), 65_535), min(round(dpi[1]), 65_535)
        picture.save(buffer, "JPEG", quality=config.jpeg_quality, subsampling=0, dpi=dots)
    return buffer.getvalue()


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _write_json(path: Path, value: Any) -> None:
    write_bytes(path, json.dumps(value, ensure_ascii=False).encode())
