"""Statistics find what was put in; layouts that were sampled have the statistics that were fitted.

Tolerances are those that docs/control.md states.
"""

from __future__ import annotations

import numpy as np
import pytest

from crafts.controls import layouts
from crafts.controls.clustering import Cluster, fit_cluster, ripley_k, thomas_k
from crafts.controls.layouts import (
    LEVELS,
    ClassStatistics,
    LayoutStatistics,
    fit_layouts,
    load_statistics,
    measure_nuclei,
    nearest_distances,
    save_statistics,
)
from crafts.controls.nuclei import CLASSES, NucleiMask
from crafts.controls.synthesis.invent import draw_outline, sample_layout
from crafts.core.errors import ConfigError, DataError
from fixtures_controls import random_mask


def truth(cluster: Cluster | None = None, mpp: float | None = 0.5) -> LayoutStatistics:
    """Large slim epithelial nuclei and small round lymphocytes, three to one."""

    def one(area: float, elongation: float, same: str, other: str, at: Cluster | None):
        spread = np.exp(0.5 * (np.array(LEVELS) - 0.5))
        return ClassStatistics(
            count=1000,
            areas=tuple(float(area * value) for value in spread),
            elongations=tuple(float(1 + (elongation - 1) * value) for value in spread),
            cluster=at,
            neighbours={same: 0.9, other: 0.1},
        )

    return LayoutStatistics(
        tissue="painted",
        mpp=mpp,
        num_images=1,
        num_nuclei=4000,
        classes={
            "epithelial": one(120, 1.8, "epithelial", "lymphocyte", None),
            "lymphocyte": one(50, 1.2, "lymphocyte", "epithelial", cluster),
        },
        compositions=({"epithelial": 900.0, "lymphocyte": 300.0},),
    )


def sampled(statistics: LayoutStatistics, count: int = 6, size: int = 256) -> list[NucleiMask]:
    return [sample_layout(statistics, size=(size, size), seed=seed) for seed in range(count)]


@pytest.fixture(scope="module")
def again() -> LayoutStatistics:
    return fit_layouts(sampled(truth(Cluster(radius=25, density=30))), "painted")


def test_measures_of_an_ellipse_are_its_own():
    draws = np.random.default_rng(0)
    ids = np.zeros((80, 80), np.int32)
    y, x = np.mgrid[:80, :80]
    angle, long, short = 0.5, 20.0, 8.0
    along = (x - 40) * np.cos(angle) + (y - 38) * np.sin(angle)
    across = (y - 38) * np.cos(angle) - (x - 40) * np.sin(angle)
    ids[(along / long) ** 2 + (across / short) ** 2 <= 1] = 3
    table = measure_nuclei(NucleiMask((ids > 0).astype(np.uint8), ids))
    assert table.areas[0] == pytest.approx(np.pi * long * short, rel=0.02)
    assert table.elongations[0] == pytest.approx(long / short, rel=0.02)
    assert table.angles[0] == pytest.approx(angle, abs=0.02)
    assert table.centers[0] == pytest.approx([38.5, 40.5], abs=0.05)
    assert table.whole[0] and table.counted[0] and table.numbers[0] == 3
    shape = draw_outline(300, 2.0, angle, draws=draws)
    again = measure_nuclei(NucleiMask(np.pad(shape, 3).astype(np.uint8)))
    assert again.areas[0] == pytest.approx(300, rel=0.1)
    assert again.elongations[0] == pytest.approx(2.0, rel=0.15)


def test_each_nucleus_is_counted_in_one_of_the_tiles_it_lies_in():
    """Overlap of a tile with the one before it is the row and column on the border."""
    whole = random_mask(0, (120, 120), 60).instances
    total = 0
    for top in range(0, 120, 40):
        for left in range(0, 120, 40):
            tile = whole[max(top - 1, 0) : top + 40, max(left - 1, 0) : left + 40].copy()
            table = measure_nuclei(NucleiMask((tile > 0).astype(np.uint8), tile))
            total += int(table.counted.sum())
    touching = {n for n in [*whole[0], *whole[:, 0]] if n}
    # parts that one tile cuts into two are the exception; there is none of these nuclei here
    assert total == pytest.approx(60 - len(touching), abs=3)


def test_k_of_points_anywhere_is_that_of_a_circle():
    draws = np.random.default_rng(0)
    points = [draws.uniform(0, 200, (draws.integers(50, 300), 2)) for _ in range(20)]
    radii = np.array([10.0, 20.0, 40.0])
    found, pairs = ripley_k(points, [(200, 200)] * 20, radii)
    assert found == pytest.approx(np.pi * radii**2, rel=0.06)
    near = sum(
        int((np.hypot(*(p[:, None] - p[None]).transpose(2, 0, 1)) <= 40).sum()) - len(p)
        for p in points
    )
    assert pairs == near


def test_a_thomas_process_is_found_and_points_anywhere_are_no_clusters():
    draws = np.random.default_rng(1)
    points, plain = [], []
    for _ in range(12):
        centers = draws.uniform(-60, 460, (draws.poisson(520 * 520 * 60e-6), 2))
        around = np.repeat(centers, draws.poisson(15, len(centers)), axis=0)
        around = around + 15 * draws.standard_normal(around.shape)
        points.append(around[((around >= 0) & (around < 400)).all(axis=1)])
        plain.append(draws.uniform(0, 400, (150, 2)))
    found = fit_cluster(points, [(400, 400)] * 12, diameter=6)
    assert found is not None
    assert found.radius == pytest.approx(15, rel=0.25)
    assert found.density == pytest.approx(60, rel=0.35)
    radii = np.array([20.0, 40.0])
    model = thomas_k(radii, 15, 60e-6)
    assert ripley_k(points, [(400, 400)] * 12, radii)[0] == pytest.approx(model, rel=0.2)
    weak = fit_cluster(plain, [(400, 400)] * 12, diameter=6)
    assert weak is None or 1 / (4 * np.pi * weak.radius**2 * weak.density * 1e-6) < 0.3


def test_nearest_distances_are_those_of_a_slow_loop():
    points = np.random.default_rng(0).uniform(0, 50, (40, 2))
    expected = []
    for place, (y, x) in enumerate(points):
        others = np.delete(points, place, axis=0)
        distance = np.hypot(*(others - (y, x)).T).min()
        if distance <= min(y, x, 50 - y, 50 - x):
            expected.append(distance)
    assert sorted(nearest_distances([points], [(50, 50)])) == pytest.approx(sorted(expected))


def test_sampled_layouts_have_what_was_fitted(again):
    before = truth(Cluster(radius=25, density=30))
    assert again.density() == pytest.approx(before.density(), rel=0.1)
    for name, share in before.shares().items():
        assert again.shares()[name] == pytest.approx(share, abs=0.05)
        one, two = before.classes[name], again.classes[name]
        assert np.mean(two.areas) == pytest.approx(np.mean(one.areas), rel=0.1)
        assert np.mean(two.elongations) == pytest.approx(np.mean(one.elongations), rel=0.1)
        assert two.neighbours[name] == pytest.approx(0.9, abs=0.15)


def test_clustered_lymphocytes_lie_closer_than_such_anywhere(again):
    anywhere = fit_layouts(sampled(truth()), "painted")
    near, far = (np.mean(s.classes["lymphocyte"].nearest) for s in (again, anywhere))
    assert near < 0.95 * far
    radii = np.array([40.0])

    def k(statistics):
        masks = sampled(statistics)
        tables = [measure_nuclei(mask) for mask in masks]
        own = [t.centers[t.classes == CLASSES.index("lymphocyte")] for t in tables]
        return ripley_k(own, [mask.size for mask in masks], radii)[0][0]

    assert k(truth(Cluster(radius=25, density=30))) > 1.5 * k(truth())


def test_layouts_are_masks_without_overlap_and_the_seed_decides():
    one, same, other = (sample_layout(truth(), size=(96, 128), seed=s) for s in (1, 1, 2))
    assert one.size == (96, 128) and one.mpp == 0.5
    assert np.array_equal(one.instances, same.instances)
    assert np.array_equal(one.classes, same.classes)
    assert not np.array_equal(one.instances, other.instances)
    assert sorted(np.unique(one.instances)) == list(range(one.num_nuclei + 1))
    from scipy import ndimage

    for number in range(1, one.num_nuclei + 1):
        own = one.instances == number
        assert len(np.unique(one.classes[own])) == 1
        assert ndimage.label(own, np.ones((3, 3)))[1] == 1


def test_another_resolution_scales_nuclei_and_keeps_their_number_per_area():
    coarse = sample_layout(truth(), size=(256, 256), seed=0)
    fine = sample_layout(truth(), size=(512, 512), seed=0, mpp=0.25)
    assert fine.mpp == pytest.approx(0.25)
    assert fine.num_nuclei == pytest.approx(coarse.num_nuclei, rel=0.25)
    areas = [np.median(measure_nuclei(mask).areas) for mask in (coarse, fine)]
    assert areas[1] / areas[0] == pytest.approx(4, rel=0.25)


def test_tissue_without_room_says_how_many_found_no_place():
    dense = truth().model_copy(update={"compositions": ({"epithelial": 12_000.0},)})
    found = sample_layout(dense, size=(128, 128), seed=0)
    assert found.skipped["found no place"] > 0 and found.num_nuclei > 50


def test_statistics_survive_their_file(tmp_path, again):
    save_statistics(tmp_path / "a.json", {"painted": again})
    found = load_statistics(tmp_path / "a.json")["painted"]
    assert found.compositions[0] == pytest.approx(again.compositions[0], rel=1e-3)
    one = sample_layout(found, size=(64, 64), seed=0)
    assert one.source == "layout of painted"
    assert (tmp_path / "a.json").stat().st_size < 20_000


def test_statistics_that_are_none_are_refused(tmp_path):
    path = tmp_path / "a.json"
    for text, error, reason in (
        ("{", DataError, "unreadable"),
        ("[]", ConfigError, "tissues"),
        ('{"tissues": {}}', ConfigError, "tissues"),
        ('{"tissues": {"a": {"tissue": "a"}}}', ConfigError, "a value"),
    ):
        path.write_text(text)
        with pytest.raises(error, match=reason):
            load_statistics(path)
    with pytest.raises(DataError, match="unreadable"):
        load_statistics(tmp_path / "none.json")


def test_masks_that_give_no_statistics_are_refused():
    with pytest.raises(DataError, match="fewer than 5 whole nuclei in 1 masks"):
        fit_layouts([NucleiMask(np.zeros((32, 32), np.uint8))], "colon")
    with pytest.raises(DataError, match="masks of 0.25, 0.5 microns per pixel; .*one resolution"):
        fit_layouts([random_mask(0, mpp=0.5), random_mask(1, mpp=0.25)], "colon")
    with pytest.raises(DataError, match="layouts of colon: no masks; expected at least one"):
        fit_layouts([], "colon")


def test_sizes_and_resolutions_that_cannot_be_are_refused():
    for size in ((8, 64), (64, 5000), (64,)):
        with pytest.raises(ConfigError, match="height and width of 16 to 4096"):
            sample_layout(truth(), size=size, seed=0)
    with pytest.raises(ConfigError, match="unknown microns per pixel"):
        sample_layout(truth(mpp=None), size=(64, 64), seed=0, mpp=0.5)


def test_layouts_of_a_real_tissue_have_its_statistics(real):
    from crafts.controls.masks import load_mask

    paths = sorted((real / "lizard128_NC" / "semantic").glob("*.png"))[::16]
    before = fit_layouts([load_mask(path, table="lizard") for path in paths], "colon")
    masks = [sample_layout(before, size=(128, 128), seed=seed) for seed in range(len(paths))]
    after = fit_layouts(masks, "colon")
    assert after.density() == pytest.approx(before.density(), rel=0.25)
    for name in ("epithelial", "lymphocyte", "connective"):
        assert after.shares()[name] == pytest.approx(before.shares()[name], abs=0.12)
        one, two = before.classes[name], after.classes[name]
        assert np.mean(two.areas) == pytest.approx(np.mean(one.areas), rel=0.2)
        assert np.mean(two.elongations) == pytest.approx(np.mean(one.elongations), rel=0.15)


def test_an_installation_without_statistics_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(layouts, "__file__", str(tmp_path / "crafts/a/b/module.py"))
    with pytest.raises(ConfigError, match="layouts: no statistics in this installation; expected"):
        layouts.shipped_layouts()
