"""Search over whole sets, the limit and the verdict."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import beta

from crafts.auditing.matching import library as libraries
from crafts.auditing.matching.copies import (
    DEFAULT_PART,
    DEFAULT_WHOLE,
    PART,
    WHOLE,
    Found,
    calibrate,
    count_kinds,
    find_copies,
    judge,
    name_transformation,
    share_of,
)
from crafts.auditing.matching.library import Library, Seen
from crafts.auditing.matching.search import Match
from crafts.auditing.results import TileVerdict
from crafts.core.artifacts import sha256_bytes
from crafts.data.collection import Tile
from crafts.data.tiles.augment import stain_jitter

LIMITS = calibrate([])
WHITE = np.full((128, 128, 3), 255, np.uint8)


def tiles_of(images):
    def load(number):
        pixels = images[number]
        if isinstance(pixels, str):
            return pixels
        return Tile(f"{number}.png", pixels, sha256_bytes(pixels.tobytes()))

    return load


def jpeg(pixels, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def restain(pixels):
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    changed = stain_jitter(image, torch.tensor([[1.4, 0.6, 1.0]]), torch.zeros(1, 3))
    return ((changed[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()


@pytest.fixture(scope="module")
def training(painted):
    return [painted(k) for k in range(12)] + [WHITE, "truncated image"]


@pytest.fixture(scope="module")
def library(training):
    return Library(len(training), tiles_of(training), num_workers=2)


def audit(images, library):
    found = find_copies("test", len(images), open_tile=tiles_of(images), library=library)
    return [
        judge(str(k), item, limits=LIMITS, sources="t{}".format) for k, item in enumerate(found)
    ]


def test_each_change_is_named(painted, library):
    half = painted(41).copy()
    half[64:] = painted(8)[:64]
    part = Image.fromarray(painted(9)[30:94, 30:94]).resize((128, 128), Image.Resampling.BICUBIC)
    kept = painted(44).copy()
    kept[:, :64] = painted(10)[:, :64]
    changed = painted(1).copy()
    changed[0, 0, 0] ^= 1
    images = [
        painted(0),
        jpeg(painted(2), 40),
        restain(painted(3)),
        np.ascontiguousarray(np.rot90(painted(4))),
        np.ascontiguousarray(painted(5)[:, ::-1]),
        half,
        np.asarray(part),
        kept,
        painted(42),
        changed,
    ]
    got = audit(images, library)
    assert [one.kind for one in got] == [
        "exact file",
        "re-encoded",
        "restained",
        "turned",
        "turned",
        "part",
        "part",
        "part",
        "",
        "re-encoded",
    ]
    assert [one.source for one in got[:8]] == "t0 t2 t3 t4 t5 t8 t9 t10".split()
    assert [one.verdict for one in got] == ["copy"] * 8 + ["clear", "copy"]
    assert got[7].how.startswith("a part of it, in its place")
    assert got[3].how == "rotated by 90°"
    assert got[4].how == "mirrored"
    assert "50 % down" in got[5].how
    assert "a part enlarged 2." in got[6].how or "a part enlarged 1.9" in got[6].how
    assert "other colours" in got[2].how
    assert got[5].shift[0] == pytest.approx(-0.5, abs=0.02)


def test_equal_pixels_in_another_file(painted, library):
    item = find_copies(
        "test", 1, open_tile=lambda k: Tile("a", painted(6), "other hash"), library=library
    )[0]
    assert judge("a", item, limits=LIMITS, sources=str).kind == "exact pixels"


def test_empty_tiles_are_plain_even_when_they_are_equal(library):
    nearly = WHITE.copy()
    nearly[:6, :6] = 90
    assert [one.verdict for one in audit([WHITE, nearly], library)] == ["plain", "plain"]


def test_unusable_tiles_are_rejected_with_their_reason(painted, library):
    images = ["damaged", painted(0)[:20, :20], np.tile(painted(0)[:32], (1, 9, 1))]
    got = audit(images, library)
    assert [one.verdict for one in got] == ["rejected"] * 3
    assert got[0].reason == "damaged"
    assert "20 x 20 px; the shorter side must have 32" in got[1].reason
    assert "longer than 8 times" in got[2].reason
    assert library.facts[13].fault == "truncated image"


def test_blocks_do_not_change_what_is_found(painted, training, library, monkeypatch):
    images = [jpeg(painted(k), 60) for k in (0, 5, 11)] + [painted(43)]
    whole = audit(images, library)
    monkeypatch.setattr(libraries, "_BLOCK", 3)
    small = Library(len(training), tiles_of(training))
    again = audit(images, small)
    assert [one.source for one in again][:3] == [one.source for one in whole][:3]
    assert [one.verdict for one in again] == [one.verdict for one in whole]
    assert small.facts.keys() == library.facts.keys()


def scored(values, overlap=1.0):
    return [Found(Seen("f", "p"), match=Match(0, value, overlap)) for value in values]


def test_limits_are_quantiles_of_tiles_that_share_nothing():
    parts, wholes = np.linspace(0, 0.54, 1000), np.linspace(0, 0.35, 1000)
    limits = calibrate([*scored(parts, 0.5), *scored(wholes), *scored([0.97] * 40)])
    assert {limits.part.source, limits.whole.source} == {"heldout"}
    assert (limits.part.n, limits.whole.n) == (2000, 2000)
    assert limits.part.quantile == pytest.approx(np.quantile([*parts, *np.zeros(1000)], 0.999))
    assert limits.whole.quantile == pytest.approx(np.quantile([*wholes, *np.zeros(1000)], 0.999))
    assert limits.part.value == pytest.approx(limits.part.quantile + 0.1)
    assert limits.whole.value == pytest.approx(limits.whole.quantile + 0.1)
    assert limits.of(Match(0, 1.0, 0.5)) == limits.part.value
    assert limits.of(Match(0, 1.0, 1.0, (0.5, 0.0, 0.0, 0.5))) == limits.part.value
    assert limits.of(Match(0, 1.0, 1.0, (0.0, -1.0, 1.0, 0.0))) == limits.whole.value


def test_the_limits_stay_within_bounds():
    low, high = calibrate(scored(np.zeros(300))), calibrate(scored(np.full(300, 0.69)))
    assert (low.part.value, low.whole.value) == (PART[0], WHOLE[0])
    assert (high.part.value, high.whole.value) == (PART[0], WHOLE[1])
    assert calibrate(scored(np.full(300, 0.69), 0.4)).part.value == PART[1]


def test_few_held_out_tiles_set_no_limit():
    limits = calibrate(scored(np.zeros(199)))
    assert (limits.part.value, limits.whole.value) == (DEFAULT_PART, DEFAULT_WHOLE)
    assert (limits.part.source, limits.whole.n) == ("default", 199)
    assert calibrate([]).part.source == "default"


def test_transformations_in_words():
    turn = (0.0, 1.0, -1.0, 0.0)
    assert name_transformation(Match(0, 1, 1.0, turn), recoloured=False) == (
        "turned",
        "rotated by 90°",
    )
    kind, how = name_transformation(Match(0, 1, 0.5, shift=(0.0, -64.0)), recoloured=True)
    assert (kind, how) == ("part", "shifted by 50 % right, 0 % up, other colours")
    assert name_transformation(Match(0, 1, 1.0), recoloured=True)[0] == "restained"


def test_the_interval_is_that_of_clopper_and_pearson():
    share = share_of(3, 50)
    assert share.low == pytest.approx(beta.ppf(0.025, 3, 48))
    assert share.high == pytest.approx(beta.ppf(0.975, 4, 47))
    assert share_of(0, 100).high == pytest.approx(1 - 0.025 ** (1 / 100))
    assert share_of(0, 0).share is None


def test_kinds_are_counted():
    verdicts = [
        TileVerdict(name="a", verdict="copy", kind="part"),
        TileVerdict(name="b", verdict="copy", kind="turned"),
        TileVerdict(name="c", verdict="copy", kind="part"),
        TileVerdict(name="d", verdict="clear"),
    ]
    assert count_kinds(verdicts) == {"part": 2, "turned": 1}


def test_empty_glass_is_a_copy_where_its_noise_is_the_same():
    glass = np.random.default_rng(0).integers(236, 246, (128, 128, 3)).astype(np.uint8)
    library = Library(2, tiles_of([glass, WHITE]))
    found = find_copies(
        "generated", 3, open_tile=tiles_of([glass, WHITE, glass[::-1]]), library=library
    )
    verdicts = [judge(f"{k}", one, limits=LIMITS, sources=str) for k, one in enumerate(found)]
    assert [(one.verdict, one.kind) for one in verdicts] == [
        ("copy", "exact file"),
        ("plain", ""),
        ("plain", ""),
    ]
