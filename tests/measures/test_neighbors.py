"""Precision, recall, density and coverage against loops and hand-made sets: equal, not close."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.neighbors import NearestNeighbors

from crafts.core.errors import ConfigError, DataError
from crafts.measures import neighbors
from crafts.measures.neighbors import nearest, prdc, prdc_at
from crafts.measures.rows import Generated, Real, unit_rows
from reference.neighbours import naive_prdc


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(neighbors, "_BLOCK", 7)  # several blocks, the last one short


def assert_equals_loops(real, generated, ks=(3, 5)):
    found = prdc_at(real, generated, ks=ks)
    real, generated = np.asarray(real, float), np.asarray(generated, float)
    assert found == {k: naive_prdc(real, generated, k) for k in ks}


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_matches_a_naive_loop(k, shift, small_blocks):
    rng = np.random.default_rng(k)
    real, generated = rng.standard_normal((31, 4)), rng.standard_normal((24, 4)) * 0.8 + shift
    assert_equals_loops(real, generated, ks=(k,))
    assert prdc(real, generated, k=k) == prdc_at(real, generated, ks=(k, 1))[k]


def far_away(rng):
    return rng.standard_normal((30, 16)) + 1e6, rng.standard_normal((25, 16)) * 0.9 + 1e6


def duplicated(rng):
    few = rng.standard_normal((6, 16))
    return few[rng.integers(0, 6, 30)], np.concatenate([few[:3], rng.standard_normal((20, 16))])


def almost_duplicated(rng):
    few = rng.standard_normal((4, 16))
    return (
        few[rng.integers(0, 4, 40)] + 1e-7 * rng.standard_normal((40, 16)),
        few[rng.integers(0, 4, 30)] + 1e-7 * rng.standard_normal((30, 16)),
    )


def barely_different(rng):  # beyond what a product in float64 resolves
    few = rng.standard_normal((3, 16))
    return (
        few[rng.integers(0, 3, 40)] + 1e-13 * rng.standard_normal((40, 16)),
        few[rng.integers(0, 3, 30)] + 1e-13 * rng.standard_normal((30, 16)),
    )


def lattice(rng):  # nearly all comparisons are ties
    return rng.integers(0, 3, (40, 3)), rng.integers(0, 3, (35, 3))


def huge_and_tiny(rng):
    return rng.standard_normal((30, 8)) * 1e30, rng.standard_normal((30, 8)) * 1e-30


def constant(rng):
    return np.ones((12, 5)), np.concatenate([np.ones((6, 5)), rng.standard_normal((6, 5))])


def fewer_rows_than_width(rng):
    return rng.standard_normal((9, 64)), rng.standard_normal((7, 64))


@pytest.mark.parametrize("one_by_one", [0, 64])
@pytest.mark.parametrize(
    "make",
    [
        far_away,
        duplicated,
        almost_duplicated,
        barely_different,
        lattice,
        huge_and_tiny,
        constant,
        fewer_rows_than_width,
    ],
)
def test_is_exact_where_rounding_decides(make, one_by_one, small_blocks, monkeypatch):
    monkeypatch.setattr(neighbors, "_ONE_BY_ONE", one_by_one)  # with 0 by products in float64
    monkeypatch.setattr(neighbors, "_REFINED", one_by_one)
    assert_equals_loops(*make(np.random.default_rng(1)))


points = arrays(
    np.float64,
    st.tuples(st.integers(4, 12), st.just(2)),
    elements=st.floats(-4, 4, width=16) | st.integers(-2, 2).map(float),
)


@settings(max_examples=100)
@given(points, points)
def test_is_exact_on_any_set(real, generated):
    assert_equals_loops(real, generated, ks=(1, 3))


def test_is_exact_at_the_width_of_an_encoder():
    rng = np.random.default_rng(3)
    scale = 1 / np.sqrt(1 + np.arange(512))
    real = (rng.standard_normal((120, 512)) * scale).astype(np.float32)
    generated = (rng.standard_normal((110, 512)) * scale * 1.05).astype(np.float32)
    assert_equals_loops(real, generated)


def test_rounding_bounds_hold():
    """No bound of a pair may lie above its distance, whatever the scale: all rests on it."""
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((200, 300)) * np.exp(3 * rng.standard_normal((200, 1))) + 50
    frame = neighbors._Frame.around(rows)
    squared = ((rows[:, None] - rows[None]) ** 2).sum(axis=2) / frame.scale**2
    for dtype in (np.float32, np.float64):
        factors = neighbors._factors(rows, frame, dtype)
        lower = (factors.left @ factors.right.T).astype(np.float64)
        width = factors.slack[:, None] + factors.slack[None]
        assert (lower <= squared).all()
        assert (lower + 2 * width >= squared).all()


def test_a_copy_is_inside_and_covers_everything():
    points = np.random.default_rng(0).standard_normal((40, 3)) + 1e3
    found = prdc(points, points, k=5)
    assert found["precision"] == found["recall"] == found["coverage"] == 1
    assert found["density"] == pytest.approx(1)  # itself and its four nearest balls: 5 in k=5


@pytest.mark.parametrize("noise", [0.0, 1e-3])
@pytest.mark.parametrize("k", [3, 5])
def test_a_collapsed_set_is_precise_and_recalls_nothing(noise, k):
    rng = np.random.default_rng(0)
    real = rng.standard_normal((600, 32))
    collapsed = real[:1] + noise * rng.standard_normal((600, 32))
    found = prdc(Real(real), Generated(collapsed), k=k)
    assert found["precision"] > 0.99
    assert found["recall"] < 0.01
    assert found["coverage"] < 0.1
    reverse = prdc(collapsed, real, k=k)  # what swapped arguments would claim
    assert reverse["precision"] < 0.01
    assert reverse["recall"] > 0.99


def test_swapped_marks_are_refused():
    rows = np.random.default_rng(0).standard_normal((9, 3))
    with pytest.raises(ConfigError, match=r"features: real: a set marked as generated; expected"):
        prdc(Generated(rows), Real(rows))


def test_a_single_mode_is_precise_but_covers_little():
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.normal(0, 1, (50, 2)), rng.normal(100, 1, (50, 2))])
    found = prdc(real, rng.normal(0, 0.5, (50, 2)))
    assert found["precision"] == 1
    assert found["coverage"] <= 0.5


def test_the_boundary_is_outside():
    real = np.array([[0.0], [1.0], [2.0]])
    generated = np.array([[3.0], [30.0]])
    assert prdc(real, generated, k=1)["precision"] == 0  # 3 lies at exactly the radius of 2


def test_duplicates_have_a_radius_of_zero_and_hold_nothing():
    real = np.tile(np.random.default_rng(0).standard_normal((1, 8)) * 1e3, (6, 1))
    assert prdc(real, real, k=3) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


@pytest.mark.parametrize("k", [0, 4])
def test_k_must_be_smaller_than_both_sets(k):
    with pytest.raises(ConfigError, match="expected 1 to 3 for these sets"):
        prdc(np.zeros((9, 2)), np.zeros((4, 2)), k=k)


def test_some_k_is_needed():
    with pytest.raises(ConfigError, match="prdc: k: none; expected 1 to 3"):
        prdc_at(np.zeros((9, 2)), np.zeros((4, 2)), ks=())


@pytest.mark.parametrize(
    ("generated", "message"),
    [
        (np.zeros((1, 2)), r"shape \[1, 2\]"),
        (np.full((4, 2), np.nan), "4 rows that are not finite"),
    ],
)
def test_bad_sets_are_refused(generated, message):
    with pytest.raises(DataError, match=message):
        prdc(np.zeros((9, 2)), generated)


def units(number, seed, width=6):
    rows = np.random.default_rng(seed).normal(size=(number, width))
    return unit_rows(rows.astype(np.float32))


def test_nearest_is_the_best_cosine():
    rng = np.random.default_rng(0)
    queries, bank = rng.standard_normal((5, 4)), rng.standard_normal((9, 4))
    found = nearest(unit_rows(queries), unit_rows(bank))
    for k, query in enumerate(queries):
        loop = [query @ row / np.linalg.norm(query) / np.linalg.norm(row) for row in bank]
        assert found.index[k] == int(np.argmax(loop))
        assert found.cosine[k] == pytest.approx(max(loop))


@pytest.mark.parametrize("at_once", [31 * 3, 2**26])
def test_neighbours_are_those_of_scikit_learn(at_once, monkeypatch):
    monkeypatch.setattr(neighbors, "_AT_ONCE", at_once)
    queries, bank = units(20, 0), units(31, 1)
    gap, index = NearestNeighbors(n_neighbors=2, metric="cosine").fit(bank).kneighbors(queries)
    got = nearest(queries, bank)
    assert np.array_equal(got.index, index[:, 0])
    assert np.allclose(got.distance, gap[:, 0], atol=1e-6)
    gap, index = NearestNeighbors(n_neighbors=2, metric="cosine").fit(bank).kneighbors(bank)
    got = nearest(bank, bank, without_self=True)
    assert np.array_equal(got.index, index[:, 1])
    assert np.allclose(got.distance, gap[:, 1], atol=1e-6)


def test_rows_of_the_same_group_are_no_neighbours():
    bank = units(12, 2)
    groups = np.array(list("aaabbbcccddd"))
    got = nearest(bank, bank, groups=(groups, groups))
    assert not (groups == groups[got.index]).any()
    lonely = nearest(bank[:3], bank[:3], groups=(groups[:3], groups[:3]))
    assert np.isinf(lonely.distance).all()
    assert (lonely.index == -1).all()
