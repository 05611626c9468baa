"""How often the rules of figure cleaning are right, on real tiles and on what is no histology.

    python bench/figures.py REAL [--limit 80]

REAL holds one folder of tiles a set (the folder of real tiles beside the repository will do). What
is no histology: charts that matplotlib draws, and the pictures that come with scikit-image,
scikit-learn, matplotlib and pydicom (photographs, CT, MR, ultrasound). Figures of several panels,
text and changed copies are made from the real tiles. Real photographs of gross specimens and real
journal figures are not among them.
"""

from __future__ import annotations

import argparse
import gzip
import io
import random
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from crafts.data.cleaning.duplicates import find_duplicates, make_print, symmetries  # noqa: E402
from crafts.data.cleaning.figures import (  # noqa: E402
    LINE,
    count_letters,
    find_panels,
    measure_look,
    picture_fault,
)

SUFFIXES = (".png", ".jpg", ".jpeg")
NOT_TISSUE = (
    "mask",
    "label",
    "semantic",
    "instance",
    "fluo",
    "dapi",
    "_if",
    "_seg",
    "lap2",
    "ki67",
)
PHOTOGRAPHS = (
    "coffee astronaut hubble_deep_field retina rocket chelsea motorcycle_left color".split()
)
GREY = "camera brick gravel grass coins moon page text phantom clock_motion cell horse".split()
MODALITIES = ("CT", "MR", "US", "CR", "NM", "PT", "XA", "DX")


def real_sets(folder: Path, limit: int) -> dict[str, list[np.ndarray]]:
    """Up to ``limit`` tiles of each set, without masks and fluorescence."""
    sets: dict[str, list[np.ndarray]] = {}
    for path in sorted(part for part in folder.iterdir() if part.is_dir()):
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in SUFFIXES
            and not any(word in str(file.relative_to(folder)).lower() for word in NOT_TISSUE)
        ]
        random.Random(0).shuffle(files)
        if files:
            sets[path.name] = [_open(file) for file in files[:limit]]
    return sets


def _open(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def draw_charts(count: int = 72) -> list[np.ndarray]:
    """Nine kinds of charts, tables and diagrams; every third as JPEG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rng, charts = np.random.default_rng(0), []
    maps = "viridis magma hot coolwarm RdPu Purples gray jet plasma PuRd".split()
    for number in range(count):
        figure, axes = plt.subplots(figsize=(rng.uniform(3, 6), rng.uniform(2.5, 5)))
        kind, colour = number % 9, rng.random(3) if number % 2 else None
        if kind == 0:
            axes.plot(rng.random((20, 3)).cumsum(axis=0), color=colour)
            axes.legend(["first", "second", "third"])
        elif kind == 1:
            axes.scatter(*rng.random((2, 300)), c=rng.random(300), cmap=maps[number % 10])
        elif kind == 2:
            axes.bar(range(6), rng.random(6), color=colour)
        elif kind == 3:
            axes.hist(rng.normal(size=500), 30, color=colour)
        elif kind == 4:
            axes.pie(rng.random(5), labels=list("abcde"))
        elif kind == 5:
            axes.imshow(rng.random((8, 8)), cmap=maps[number // 9 % 10])
        elif kind == 6:
            axes.boxplot(rng.normal(size=(50, 4)))
        else:
            axes.axis("off")
            for line in range(12):
                box = {"fc": "plum"} if kind == 8 else None
                axes.text(0.1 * (line % 3), 1 - line / 12, f"stage {line}, n={7 * line}", bbox=box)
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=int(rng.integers(60, 160)))
        plt.close(figure)
        chart = np.asarray(Image.open(buffer).convert("RGB"))
        charts.append(_as_jpeg(chart) if number % 3 == 0 else chart)
    return charts


def library_pictures() -> Iterator[tuple[str, np.ndarray]]:
    """Photographs (whole and in quarters), grey pictures and radiology of Python packages."""
    import matplotlib
    import skimage
    import sklearn

    data = Path(skimage.__file__).parent / "data"
    own = Path(matplotlib.__file__).parent / "mpl-data/sample_data"
    files = [file for name in PHOTOGRAPHS for file in data.glob(f"{name}.*")]
    files += [*(Path(sklearn.__file__).parent / "datasets/images").glob("*.jpg")]
    for file in [*files, own / "grace_hopper.jpg"]:
        picture = _open(file)
        height, width = picture.shape[0] // 2, picture.shape[1] // 2
        yield "photograph", picture
        for top, left in ((0, 0), (0, width), (height, 0), (height, width)):
            yield "photograph", picture[top : top + height, left : left + width]
    for name in GREY:
        with Image.open(next(data.glob(f"{name}.*"))) as image:
            yield "grey", np.asarray(image.convert("L").convert("RGB"))
    raw = np.frombuffer(gzip.decompress((own / "s1045.ima.gz").read_bytes()), np.uint16)
    yield "radiology", _grey(raw.reshape(256, 256))
    yield from (("radiology", picture) for picture in _dicom_pictures())


def _dicom_pictures() -> Iterator[np.ndarray]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    warnings.simplefilter("ignore")
    seen = set()
    for file in sorted((Path(pydicom.__file__).parent / "data/test_files").glob("*.dcm")):
        try:
            image = pydicom.dcmread(file)
            pixels = np.asarray(image.pixel_array)
        except (InvalidDicomError, AttributeError, RuntimeError, ValueError, NotImplementedError):
            continue
        if image.get("Modality") not in MODALITIES or min(pixels.shape[:2]) < 48:
            continue
        picture = _grey(pixels) if pixels.ndim == 2 else pixels.astype(np.uint8)
        if picture.ndim == 3 and picture.shape[2] == 3 and picture.tobytes() not in seen:
            seen.add(picture.tobytes())
            yield picture


def _grey(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, [1, 99])
    grey = (np.clip((values - low) / max(1e-9, high - low), 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _as_jpeg(pixels: np.ndarray, quality: int = 85) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def measure_rules(sets: dict[str, list[np.ndarray]]) -> None:
    print(
        "kept as histology (real tiles; each loss is a fault of the rules, or a tile of no tissue)"
    )
    total = Counter[str]()
    for name, tiles in sets.items():
        faults = Counter(filter(None, (picture_fault(measure_look(tile)) for tile in tiles)))
        total += Counter(tiles=len(tiles), kept=len(tiles) - sum(faults.values()))
        print(
            f"  {name:24s} {len(tiles) - sum(faults.values()):4d} of {len(tiles):4d} {dict(faults)}"
        )
    print(f"  all {total['kept']} of {total['tiles']}")
    print("dropped (no histology)")
    found: dict[str, Counter[str]] = {}
    others = [("chart", chart) for chart in draw_charts()] + list(library_pictures())
    for kind, picture in others:
        fault = picture_fault(measure_look(picture)) or "KEPT"
        found.setdefault(kind, Counter())[fault] += 1
    for kind, faults in found.items():
        count = sum(faults.values())
        print(f"  {kind:12s} {count - faults['KEPT']:3d} of {count:3d} {dict(faults)}")


def measure_letters(tiles: list[np.ndarray], rng: random.Random) -> None:
    import matplotlib

    false = sum(count_letters(tile) >= LINE for tile in tiles)
    print(f"text: seen on {false} of {len(tiles)} real tiles without any")
    fonts = Path(matplotlib.__file__).parent / "mpl-data/fonts/ttf"
    names = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif-Bold.ttf")
    texts = ("Figure 3b", "200 microns", "H&E x400 original", "Tumor stroma", "www.pathology")
    found, asked = Counter[str](), Counter[str]()
    large = [tile for tile in tiles if min(tile.shape[:2]) >= 256]
    for number in range(160):
        image = Image.fromarray(rng.choice(large))
        draw, ink = ImageDraw.Draw(image), ("black", "white", "yellow", "red")[number % 4]
        font = ImageFont.truetype(str(fonts / rng.choice(names)), rng.choice((12, 14, 18, 22)))
        text = rng.choice(texts)
        room = image.width - draw.textlength(text, font) - 4, image.height - 30
        draw.text((rng.uniform(2, room[0]), rng.uniform(2, room[1])), text, ink, font)
        written = np.asarray(image)
        asked[ink] += 1
        found[ink] += count_letters(_as_jpeg(written) if number % 8 < 4 else written) >= LINE
    print("  seen where written:", {ink: f"{found[ink]} of {asked[ink]}" for ink in asked})


def measure_panels(tiles: list[np.ndarray], rng: random.Random) -> None:
    cut = sum(find_panels(tile) != [(0, 0, tile.shape[1], tile.shape[0])] for tile in tiles)
    print(f"panels: {cut} of {len(tiles)} real tiles of one panel were cut or trimmed")
    right = 0
    for number in range(100):
        rows, columns = rng.choice(((1, 2), (2, 1), (2, 2), (1, 3), (2, 3)))
        gap, side = rng.choice((4, 6, 10, 20)), rng.choice((160, 256, 300))
        sheet = np.full(
            (rows * (side + gap) + gap, columns * (side + gap) + gap, 3),
            rng.choice((255, 255, 255, 0)), np.uint8,
        )  # fmt: skip
        wanted = []
        for row in range(rows):
            for column in range(columns):
                top, left = gap + row * (side + gap), gap + column * (side + gap)
                panel = Image.fromarray(rng.choice(tiles)).resize((side, side))
                sheet[top : top + side, left : left + side] = np.asarray(panel)
                wanted.append((left, top, left + side, top + side))
        found = find_panels(_as_jpeg(sheet) if number % 2 else sheet)
        right += len(found) == len(wanted) and all(
            max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 4
            for one, other in zip(found, wanted, strict=True)
        )
    print(f"  cut into the right panels (edges within 4 px): {right} of 100 figures")


def measure_copies(tiles: list[np.ndarray]) -> None:
    prints = [make_print(tile) for tile in tiles]
    print(f"copies: {len(find_duplicates(prints))} pairs among {len(tiles)} real tiles")
    changes = {
        "JPEG at quality 60": lambda image: Image.fromarray(_as_jpeg(np.asarray(image), 60)),
        "resized to 70 %": lambda image: image.resize(
            (image.width * 7 // 10, image.height * 7 // 10), Image.Resampling.LANCZOS
        ),
        "3 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.03),
        "blurred by 1 px": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
        "1 % cut off each side": lambda image: image.crop(
            (image.width // 100, image.height // 100)
            + (image.width - image.width // 100, image.height - image.height // 100)
        ),
        "4 % cut off each side": lambda image: image.crop(
            (image.width // 25, image.height // 25)
            + (image.width - image.width // 25, image.height - image.height // 25)
        ),
    }
    some = list(range(0, len(tiles), max(1, len(tiles) // 200)))
    for name, change in changes.items():
        copies = []
        for number, index in enumerate(some):
            turned = list(symmetries(np.asarray(change(Image.fromarray(tiles[index])))))[number % 8]
            copies.append(make_print(np.ascontiguousarray(turned)))
        found = find_duplicates([prints[index] for index in some] + copies)
        hits = sum(one.index - len(some) == one.of for one in found)
        print(f"  {name}, turned or mirrored: found {hits} of {len(some)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path)
    parser.add_argument("--limit", type=int, default=80)
    arguments = parser.parse_args()
    sets = real_sets(arguments.real, arguments.limit)
    tiles = [tile for group in sets.values() for tile in group]
    measure_rules(sets)
    measure_letters(tiles, random.Random(1))
    measure_panels([tile for tile in tiles if min(tile.shape[:2]) >= 128], random.Random(1))
    measure_copies(tiles)


if __name__ == "__main__":
    main()
