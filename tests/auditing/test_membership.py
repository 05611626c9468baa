"""Membership inference, against scikit-learn and plain loops, and on an over-trained model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from crafts.auditing.membership import (
    AttackSide,
    area_under_curve,
    attack,
    attack_all,
    contrast_of,
    draw_sides,
    true_positive_rate,
)
from crafts.core.errors import DataError
from crafts.data.collection import Tile
from crafts.data.painter import paint_tile
from crafts.model.bundle import Bundle
from crafts.model.denoiser import DenoiserConfig, build_denoiser
from crafts.model.schedule import ScheduleConfig, build_schedule
from crafts.model.text import TextConditioner, build_text_encoder
from crafts.sampling.losses import compute_losses
from crafts.testing import FakeCodec
from fixtures_model import TINY_TEXT, tiny_tokenizer

TOY = DenoiserConfig(
    sample_size=8,
    channels=3,
    block_out_channels=(32, 64),
    attention=(False, False),
    num_heads=2,
    cross_attention_dim=16,
    norm_num_groups=8,
    layers_per_block=1,
)
scores = st.lists(st.integers(0, 6).map(float), min_size=2, max_size=30).map(np.array)


@given(members=scores, nonmembers=scores)
@settings(max_examples=50)
def test_area_is_that_of_scikit_learn_ties_included(members, nonmembers):
    truth = [1] * len(members) + [0] * len(nonmembers)
    wanted = roc_auc_score(truth, np.concatenate([members, nonmembers]))
    assert area_under_curve(members, nonmembers) == pytest.approx(wanted)


@given(members=scores, nonmembers=scores, rate=st.sampled_from([0.01, 0.1, 0.3]))
@settings(max_examples=50)
def test_true_positives_never_cost_more_false_ones_than_allowed(members, nonmembers, rate):
    best = 0.0
    for threshold in [*nonmembers, *members]:
        if (nonmembers > threshold).mean() <= rate:
            best = max(best, (members > threshold).mean())
    got = true_positive_rate(members, nonmembers, false_positives=rate)
    assert got == pytest.approx(best)


def test_chance_and_certainty():
    rng = np.random.default_rng(0)
    blind = attack("blind", rng.normal(size=300), rng.normal(size=300))
    assert blind.auc_low < 0.5 < blind.auc_high
    assert (blind.members, blind.nonmembers, blind.groups) == (300, 300, 0)
    sure = attack("loss", np.arange(300) + 1000.0, np.arange(300.0))
    assert (sure.auc, sure.auc_low, sure.tpr) == (1.0, 1.0, 1.0)


def test_whole_patients_are_drawn_so_that_few_patients_give_wide_intervals():
    rng = np.random.default_rng(1)
    shift = np.repeat(rng.normal(size=10), 30)
    members, nonmembers = shift + rng.normal(size=300) * 0.1, rng.normal(size=300)
    names = [str(k // 30) for k in range(300)]
    tiles = attack("loss", members, nonmembers)
    patients = attack("loss", members, nonmembers, groups=(names, names))
    assert patients.auc_high - patients.auc_low > 2 * (tiles.auc_high - tiles.auc_low)
    assert patients.groups == 20
    assert attack("loss", members, nonmembers, groups=(names, names)) == patients


@pytest.mark.parametrize("bad", [np.array([1.0]), np.array([1.0, np.nan])])
def test_unusable_scores_are_refused(bad):
    with pytest.raises(DataError, match="membership: loss: .* of members.*two finite scores"):
        attack("loss", bad, np.array([1.0, 2.0]))


def test_both_sides_get_equal_shares_of_each_kind():
    members = [{"set": "a", "label": "x"}] * 50 + [{"set": "b", "label": "y"}] * 10
    nonmembers = [{"set": "b", "label": "y"}] * 40 + [{"set": "a", "label": "x"}] * 20
    nonmembers += [{"set": "c", "label": "y"}] * 30
    first, second, matched = draw_sides(members, nonmembers, number=100)
    assert matched == "set, label"
    assert len(first) == len(second) == len(set(first)) == len(set(second)) == 30
    for name, wanted in (("a", 20), ("b", 10), ("c", 0)):
        assert sum(members[k]["set"] == name for k in first) == wanted
        assert sum(nonmembers[k]["set"] == name for k in second) == wanted
    fewer = draw_sides(members, nonmembers, number=15)
    assert len(fewer[0]) == len(fewer[1]) and 14 <= len(fewer[0]) <= 15
    assert draw_sides([{}] * 5, [{"set": "a"}] * 7, number=9)[2] == ""


def test_contrast_is_the_mean_step():
    tile = np.zeros((4, 4, 3), np.uint8)
    tile[:, 2:] = 30
    assert contrast_of([tile], [""])[0] == pytest.approx(30 * 4 / 12)


@pytest.fixture(scope="module")
def tiles():
    """Of one class, so that no tile is easier than another by its kind."""
    return [paint_tile(seed=3, index=k, size=64, classes=("glands",)).image for k in range(70)]


@pytest.fixture(scope="module")
def by_heart(tiles, tmp_path_factory):
    """A denoiser that saw four tiles again and again."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer(tmp_path_factory.mktemp("words"))
    bundle = Bundle(
        codec=FakeCodec(8),
        text=TextConditioner(tokenizer, build_text_encoder(TINY_TEXT, tokenizer)),
        denoiser=build_denoiser(TOY),
        schedule=build_schedule(ScheduleConfig()),
    )
    images = torch.stack([torch.from_numpy(tile.copy()) for tile in tiles[:4]]).repeat(2, 1, 1, 1)
    x0 = bundle.codec.encode(images.permute(0, 3, 1, 2).float() / 127.5 - 1)[0]
    with torch.no_grad():
        tokens = bundle.text.encode([""]).tokens.expand(8, -1, -1)
    optimizer = torch.optim.Adam(bundle.denoiser.parameters(), 4e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        t = torch.randint(0, 600, (8,), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        x_t = bundle.schedule.add_noise(x0, noise, t)
        prediction = bundle.denoiser(x_t, t, encoder_hidden_states=tokens).sample
        loss = (prediction - bundle.schedule.target(x0, noise, t)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return bundle


def test_an_over_trained_model_gives_its_members_away(by_heart, tiles):
    def losses_of(images, texts):
        return compute_losses(by_heart, images, texts, timesteps=(50, 100, 200, 300, 500))

    texts = [""] * len(tiles)
    got = -losses_of(tiles, texts)
    assert attack("loss", got[:4], got[4:]).auc > 0.9
    fresh = replace(by_heart, denoiser=build_denoiser(TOY))
    got = -compute_losses(fresh, tiles, texts, timesteps=(50, 100, 200, 300, 500))
    assert abs(area_under_curve(got[:4], got[4:]) - 0.5) < 0.4  # the tiles do not do it alone


def test_all_attacks_of_one_audit(tiles):
    def load(k):
        return Tile(str(k), tiles[k], "hash")

    def losses_of(images, texts):
        return np.array([float(image.mean()) for image in images])

    rows = [{"set": "painted", "patient": str(k // 5)} for k in range(30)]
    near, far = np.full(30, 0.1), np.full(30, 0.9)
    members, nonmembers = (
        AttackSide(rows, near, load),
        AttackSide(rows, far, lambda k: load(k + 30)),
    )
    got = attack_all(members, nonmembers, losses_of, number=20)
    assert [one.name for one in got] == ["loss", "features", "blind"]
    assert got[1].auc == 1.0
    assert {(one.members, one.nonmembers, one.matched) for one in got} == {(20, 20, "set")}
    assert [one.name for one in attack_all(members, nonmembers, None, number=20)] == [
        "features",
        "blind",
    ]
    few = AttackSide(rows[:5], near[:5], load)
    assert attack_all(few, nonmembers, None, number=20) == []
