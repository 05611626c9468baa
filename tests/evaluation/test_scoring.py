"""The scoring recipes end to end on painted tiles and very small models."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "mini"
sys.path.insert(0, str(RECIPES))

import classifier  # noqa: E402
import comparisons  # noqa: E402
import model_check  # noqa: E402
import score  # noqa: E402
import score_codec  # noqa: E402

from crafts.controls.nuclei import NucleiMask  # noqa: E402
from crafts.core.artifacts import finish  # noqa: E402
from crafts.core.errors import IntegrityError  # noqa: E402
from crafts.model.bundle import load_bundle  # noqa: E402
from crafts.model.config import ResNetVision  # noqa: E402
from crafts.model.encoders import (  # noqa: E402
    DualEncoderConfig,
    build_dual_encoder,
    load_dual_encoder,
    save_dual_encoder,
)
from crafts.model.text import TextConfig  # noqa: E402
from crafts.testing import write_tiny_model  # noqa: E402

KINDS = (  # organ, label, power, set
    ("oral mucosa", "oral normal low", "low", "oral"),
    ("oral mucosa", "oral carcinoma low", "low", "oral"),
    ("colon", "colon tissue", "high", "lizard"),
    ("lung", "lung normal", "high", "other"),
)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    (folder / "images").mkdir()
    rng, rows = np.random.default_rng(0), []
    for number, (organ, label, power, name) in enumerate(KINDS):
        for patient in range(6):
            for index in range(2):
                pixels = rng.integers(60, 220, (32 >> (number % 2), 32, 3), dtype=np.uint8)
                file = f"images/{number}-{patient}-{index}.png"
                Image.fromarray(pixels).resize((32, 32)).save(folder / file)
                captions = [f"{organ}.", f"{label}, {power} power."]
                rows.append(
                    {
                        "file_name": file,
                        "text": captions[0],
                        "captions": json.dumps(captions),
                        "organ": organ,
                        "label": label,
                        "power": power,
                        "set": name,
                        "patient": f"{number}-{patient}",
                        "split": "train" if patient < 4 else "heldout",
                        "lymphocytes": ("many", "few")[patient % 2] if name == "lizard" else "",
                    }
                )
    with (folder / "metadata.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    wording = {
        label: {"held_back": [f"{label} at weak power", f"{label} seen"]}
        for _, label, _, _ in KINDS
    }
    (folder / "classes.json").write_text(json.dumps(wording))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "model", size=32)
    torch.manual_seed(0)
    config = DualEncoderConfig(
        vision=ResNetVision(embedding_size=8, hidden_sizes=(8, 16), depths=(1, 1)),
        text=TextConfig(width=16, num_layers=1, num_heads=2, intermediate=32),
        projection_dim=8,
        image_size=32,
    )
    tokenizer = load_bundle(folder / "model").text.tokenizer
    save_dual_encoder(build_dual_encoder(config, tokenizer), folder / "clip")
    finish(folder / "clip", stage="clip", config={})
    classifier.save_classifier(classifier.build_network(), folder / "classifier")
    return folder


def test_classes_follow_organ_label_and_power():
    def row(organ, label, power="low", name="prostate_gleason_NC"):
        return classifier.class_of({"organ": organ, "label": label, "power": power, "set": name})

    assert row("oral mucosa", "oral normal high", "high") == "oral normal high"
    assert row("oral mucosa", "oral carcinoma low") == "oral carcinoma low"
    assert row("oral mucosa", "oral carcinoma", "") is None
    assert row("prostate", "prostate benign") == "prostate benign"
    assert row("prostate", "prostate cancer") == "prostate cancer"
    assert row("prostate", "prostate cancer high", "high", "monuseg_NC") is None
    assert row("colon", "colon polyp") == "colon"
    assert row("colon", "colon fat", "medium", "crc_he7k") is None
    assert row("stomach", "stomach carcinoma") is None


def test_sampling_is_balanced_over_classes(tiles):
    rows = classifier.read_rows(tiles, "train")[3:]
    weights = classifier.sampling_weights(rows)
    for name in {row["class"] for row in rows}:
        assert sum(
            w for row, w in zip(rows, weights, strict=True) if row["class"] == name
        ) == pytest.approx(1)


def test_augmentation_is_decided_by_its_generator_and_keeps_to_the_tile():
    grey = torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(0))
    one = classifier.augment(grey, torch.Generator().manual_seed(5))
    assert one.shape == (3, 1, classifier.CROP, classifier.CROP)
    assert torch.equal(one, classifier.augment(grey, torch.Generator().manual_seed(5)))
    assert not torch.equal(one, classifier.augment(grey, torch.Generator().manual_seed(6)))
    assert torch.isfinite(one).all()


def test_scrambled_crops_keep_their_spectrum_and_belong_to_no_class():
    crops = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    other = classifier.scramble(crops, torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        torch.fft.rfft2(other).abs()[..., 1:-1],
        torch.fft.rfft2(crops).abs()[..., 1:-1],
        rtol=1e-3,
        atol=1e-3,
    )
    assert abs(float(torch.corrcoef(torch.stack([crops.flatten(), other.flatten()]))[0, 1])) < 0.15
    wanted = classifier.targets(torch.tensor([3, 3, 5]), 1)
    labels = torch.tensor([3, 3, 5])
    torch.testing.assert_close(wanted[0], torch.full((11,), 1 / 11))
    logits = torch.randn(3, 11, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        torch.nn.functional.cross_entropy(logits[1:], wanted[1:]),
        torch.nn.functional.cross_entropy(logits[1:], labels[1:], label_smoothing=0.05),
    )


def test_a_trained_classifier_comes_back_from_half_precision(tiles, tmp_path):
    rows = classifier.read_rows(tiles, "train")
    images = np.kron(classifier.read_tiles(tiles, rows), np.ones((1, 8, 8, 1), dtype=np.uint8))
    classifier.train(rows, images, 1.0, tmp_path, scrambled=0.25)
    assert (tmp_path / "model.safetensors").stat().st_size < 1_000_000
    network = classifier.load_classifier(tmp_path)
    assert next(network.parameters()).dtype == torch.float32
    scores = classifier.classify(network, images[:3])
    assert scores.shape == (3, len(classifier.CLASSES))
    flipped = classifier.classify(network, np.ascontiguousarray(images[:3, ::-1]))
    np.testing.assert_allclose(flipped, scores, atol=1e-4)


def test_calibration_puts_the_border_where_validation_patients_put_it(models, tmp_path):
    network = classifier.load_classifier(models / "classifier")
    with torch.no_grad():  # far too sure of carcinoma
        network.classifier[-1].bias[1] += 5
    classifier.save_classifier(network, tmp_path / "net")
    (tmp_path / "images").mkdir()
    rng, lines = np.random.default_rng(0), ["file_name,patient,split,set,organ,label,power"]
    for index in range(16):
        kind, step = (("normal", 2), ("carcinoma", 8))[index % 2]
        pixels = np.kron(rng.integers(0, 256, (64 // step, 64 // step)), np.ones((step, step)))
        pixels = np.repeat(pixels[..., None], 3, axis=2).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
        row = f"images/{index}.png,{index},validation,oral,oral mucosa,oral {kind} low,low"
        lines.append(row)
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    rows = classifier.read_rows(tmp_path, "validation")
    images, names = classifier.read_tiles(tmp_path, rows), [row["class"] for row in rows]

    def guesses():
        scores = classifier.classify(classifier.load_classifier(tmp_path / "net"), images)
        gap = scores[:, 1] - scores[:, 0]
        return [float(np.median(gap[np.array(names) == name])) for name in classifier.CLASSES[:2]]

    assert min(guesses()) > 0
    classifier.calibrate(tmp_path, tmp_path / "net")
    assert sum(guesses()) == pytest.approx(0, abs=0.01)  # the border lies in the middle
    before = classifier.load_classifier(tmp_path / "net").classifier[-1].bias
    classifier.calibrate(tmp_path, tmp_path / "net")  # once more changes nothing but rounding
    after = classifier.load_classifier(tmp_path / "net").classifier[-1].bias
    assert torch.allclose(before, after, atol=0.01)


def test_judging_restricts_to_the_task_and_corrects_for_chance():
    names = ["oral normal low", "oral normal low", "oral carcinoma low", "prostate benign"]
    scores = np.zeros((4, len(classifier.CLASSES)), dtype=np.float32)
    scores[:, 10] = 9  # bone is no answer to a question about the mouth
    scores[[0, 1, 2], [0, 1, 1]] = 1
    found = classifier.judge(scores, names)
    assert set(found) == {"oral low"}  # of the prostate only one class occurs
    assert found["oral low"]["accuracy"] == pytest.approx(0.75)
    assert found["oral low"]["corrected"] == pytest.approx(0.5)
    assert found["oral low"]["oral normal low"] == pytest.approx(0.5)


def test_rows_come_from_patients_in_turn(tiles):
    rows = comparisons.spread_rows(classifier.read_rows(tiles, "train"), 5)
    for name in {row["class"] for row in rows}:
        patients = [row["patient"] for row in rows if row["class"] == name]
        assert len(patients) == 5 and len(set(patients)) == 4
    assert all("power" in comparisons.caption_of(row) for row in rows)


def test_requests_are_distinct_and_pairs_share_their_noise(tiles):
    rows = comparisons.spread_rows(classifier.read_rows(tiles, "heldout"), 3)
    unseen = {label: [f"{label} at weak power", "no p"] for _, label, _, _ in KINDS}
    requests = comparisons.class_requests(rows, unseen, 3)
    assert len({r.id for r in requests}) == len({r.seed for r in requests}) == len(requests) == 24
    assert {comparisons.class_of_request(r) for r in requests} <= set(classifier.CLASSES)
    assert all("weak" in r.prompt for r in requests if r.kind == "unseen")
    pairs = comparisons.lymphocyte_requests(2)
    assert [r.kind for r in pairs] == ["many", "few"] * 2
    assert pairs[0].seed == pairs[1].seed != pairs[2].seed
    assert all("lymphocyt" in r.prompt.lower() for r in pairs)


def test_shuffling_keeps_tiles_and_the_multiset_of_prompts():
    group = comparisons.Group(
        "g",
        np.arange(20 * 12, dtype=np.uint8).reshape(20, 2, 2, 3),
        list("ab" * 10),
        [*map(str, range(20))],
    )
    other = comparisons.shuffled(group)
    assert (other.tiles == group.tiles).all()
    assert sorted(other.prompts) == sorted(group.prompts) and other.prompts != group.prompts
    assert [
        dict(zip(group.prompts, group.classes, strict=True))[p] for p in other.prompts
    ] == other.classes


def test_reference_and_rest_share_no_patient(tiles):
    rows = classifier.read_rows(tiles, "heldout")
    mask = comparisons.reference_patients(rows)
    sides = [
        {row["patient"] for row, own in zip(rows, mask, strict=True) if own == side}
        for side in (True, False)
    ]
    assert sides[0] and sides[1] and not sides[0] & sides[1]


def test_nuclear_density_counts_blue_not_pink():
    pink, blue = (
        np.full((1, 8, 8, 3), colour, dtype=np.uint8) for colour in ((235, 160, 200), (80, 60, 140))
    )
    assert score.haematoxylin(np.concatenate([pink, blue, np.full_like(pink, 255)])).tolist() == [
        0,
        1,
        0,
    ]


def test_lymphocyte_effect_is_the_area_under_the_curve(models):
    judges = judges_of(models)
    rng = np.random.default_rng(0)
    many, few = (rng.integers(low, 256, (9, 32, 32, 3), dtype=np.uint8) for low in (0, 60))
    few[:, 0, 0] = 0  # as many pixels there as the segmenter below finds nuclei
    few[0, 0, 0], many[:, 0, 0] = 32, 16
    found = score.lymphocyte_effect(judges, count_of_first_pixel, many, few, paired=True)
    density = score.haematoxylin(np.concatenate([many, few]))
    assert found["density"] == pytest.approx(roc_auc_score([1] * 9 + [0] * 9, density))
    assert found["nuclei"] == pytest.approx(
        roc_auc_score([1] * 9 + [0] * 9, [16] * 9 + [32] + [0] * 8)
    )
    assert found["more_nuclei"] == pytest.approx(8 / 9)
    same = score.lymphocyte_effect(judges, count_of_first_pixel, many, many)
    assert same["direction"] == pytest.approx(0.5, abs=0.05)
    assert same["nuclei"] == 0.5 and "more_nuclei" not in same


def judges_of(models):
    """The networks of these tests."""
    return score.Judges(
        classifier.load_classifier(models / "classifier"), load_dual_encoder(models / "clip")
    )


def count_of_first_pixel(tile):
    """A segmenter that finds as many nuclei as the first pixel says."""
    instances = np.zeros(tile.shape[:2], dtype=np.int32)
    instances.flat[: tile[0, 0, 0]] = np.arange(1, tile[0, 0, 0] + 1)
    return NucleiMask((instances > 0).astype(np.uint8), instances)


def test_the_linear_code_is_a_principal_component_analysis():
    rng = np.random.default_rng(0)
    train, held = (rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for n in (20, 3))
    mean, basis = score_codec.fit_linear(train, 8, 8)
    pca = PCA(8, svd_solver="full").fit(score_codec.patches_of(train, 8))
    rows = score_codec.patches_of(held, 8)
    error = (pca.inverse_transform(pca.transform(rows)) - rows) ** 2
    expected = np.mean(10 * np.log10(255**2 / error.reshape(3, -1).mean(1)))
    assert score_codec.linear_psnr(held, 8, mean, basis) == pytest.approx(expected, rel=1e-6)
    assert score_codec.psnr(held, held) > 100
    other = np.clip(held.astype(int) + rng.integers(-30, 30, held.shape), 0, 255).astype(np.uint8)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    similar = [
        structural_similarity(a.mean(2), b.mean(2), data_range=255, **options)
        for a, b in zip(held, other, strict=True)
    ]
    assert score_codec.ssim(held, other) == pytest.approx(np.mean(similar), rel=1e-6)
    assert score_codec.laplacian_ratio(held, held) == pytest.approx(1)
    patch = held[1, 8:16, 16:24].reshape(-1)
    assert (score_codec.patches_of(held, 8)[16 + 4 + 2] == patch).all()


def test_codec_table_and_montage(tiles, models, tmp_path, monkeypatch, capsys):
    argv = [
        "score_codec",
        str(models / "model" / "vae"),
        str(tiles),
        "--output",
        str(tmp_path),
        "--tiles-per-set",
        "4",
    ]
    monkeypatch.setattr(sys, "argv", argv)
    score_codec.main()
    table = json.loads((tmp_path / "codec.json").read_text())["sets"]
    assert [row["set"] for row in table] == ["lizard", "oral", "other", "mean over sets"]
    assert all(row["gain"] == pytest.approx(row["psnr"] - row["linear"]) for row in table)
    assert "| mean over sets | 12 |" in capsys.readouterr().out
    assert Image.open(tmp_path / "codec.png").height == 6 * (256 + 4)


def test_score_writes_table_and_pictures_and_goes_on(tiles, models, tmp_path, monkeypatch, capsys):
    argv = [
        "score",
        str(models / "model"),
        str(tiles),
        str(tmp_path),
        "--per-class",
        "3",
        "--preset",
        "fast",
    ]
    argv += ["--encoder", str(models / "clip"), "--classifier", str(models / "classifier")]
    monkeypatch.setattr(sys, "argv", argv)
    score.main()
    result = json.loads((tmp_path / "score.json").read_text())
    names = [row["name"] for row in result["table"]]
    assert names[0] == score.GENERATED and score.REAL in names and len(names) == 10
    assert set(result["share_of_real"]) == {"oral low", "organ"}
    assert set(result["lymphocytes"]) == {score.REAL, score.GENERATED}
    assert "| real, held-out | 12 |" in (tmp_path / "score.md").read_text()
    assert (tmp_path / "montage.png").stat().st_size and (tmp_path / "nearest.png").stat().st_size
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "generated" / "images").iterdir()}
    assert len(made) == 4 * 3 * 2 + 3 * 2
    score.main()
    assert made == {path: path.stat().st_mtime_ns for path in made}
    capsys.readouterr()


def test_model_check_passes_on_what_it_was_made_from_and_refuses_worse(
    tiles, models, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(model_check, "NUM", 8)
    base = ["model_check", str(models / "model"), "--reference", str(tmp_path / "check")]
    base += ["--encoder", str(models / "clip"), "--classifier", str(models / "classifier")]
    monkeypatch.setattr(sys, "argv", [*base, "--make", str(tiles)])
    assert model_check.main() == 0
    monkeypatch.setattr(sys, "argv", base)
    assert model_check.main() == 0, capsys.readouterr().err
    features = tmp_path / "check" / "features.safetensors"
    data = bytearray(features.read_bytes())
    data[-1] ^= 1
    features.write_bytes(bytes(data))
    assert model_check.main() == 3
    assert "features.safetensors: changed content" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            {"kernel_distance": 9.0, "structure": 1.0},
            r"kernel_distance: 9\.000; expected at most 5\.000",
        ),
        (
            {"kernel_distance": 1.0, "structure": 0.1},
            r"structure: 0\.100; expected at least 0\.500",
        ),
        ({"kernel_distance": float("nan"), "structure": 1.0}, "kernel_distance: nan"),
    ],
)
def test_model_check_names_the_number_that_fails(found, message):
    with pytest.raises(IntegrityError, match=message):
        model_check.refuse(found, {"kernel_distance": 5.0, "structure": 0.5}, "check")


def test_model_check_refuses_another_encoder(tiles, models, tmp_path, monkeypatch):
    monkeypatch.setattr(model_check, "NUM", 4)
    judges = judges_of(models)
    bundle = load_bundle(models / "model")
    model_check.make(judges, bundle, tiles, tmp_path / "check")
    with torch.no_grad():
        judges.encoder.visual_projection.weight.add_(1)
    with pytest.raises(IntegrityError, match="features of another evaluation encoder"):
        model_check.check(judges, bundle, tmp_path / "check")
