from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from crafts.captions.trained_on import collect
from crafts.core import artifacts
from crafts.core.errors import ConfigError, DataError, IntegrityError, RetryError
from crafts.model.bundle import (
    load_bundle,
    load_token_counter,
    read_licence,
    resolve_model,
    save_bundle,
)
from fixtures_model import kl_codec, tiny_bundle, tiny_codec, write_sd15_folder

CARD = "---\nlicense: other\n---\n# Tiny\n"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ours")
    bundle = tiny_bundle(folder / "words", licence="research only", mpp=0.5, extra={"steps": 7})
    save_bundle(bundle, folder / "model", card=CARD, stage="train", inputs={"latents": "abc"})
    return folder / "model"


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("sd15") / "stable-diffusion-v1-5"
    return folder, write_sd15_folder(folder)


def copy(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target / "copy"))


@torch.no_grad()
def images_of(bundle, x_t: torch.Tensor, prompt: str, steps: int) -> torch.Tensor:
    """Plain DDIM without guidance, written out."""
    tokens = bundle.text.encode([prompt]).tokens
    sampler = DDIMScheduler.from_config(bundle.schedule.config)
    sampler.set_timesteps(steps)
    for t in sampler.timesteps:
        x_t = sampler.step(bundle.denoiser(x_t, t, tokens).sample, t, x_t).prev_sample
    return (bundle.codec.decode(x_t) / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("make", [tiny_codec, kl_codec])
@pytest.mark.parametrize("half", [False, True])
def test_diffusers_opens_ours_and_gives_our_image(make, half: bool, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "words", make())
    save_bundle(bundle, tmp_path / "model", card=CARD, half=half)
    loaded = load_bundle(tmp_path / "model")
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "model", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline.scheduler).__name__ == "DDIMScheduler"
    assert pipeline.safety_checker is None and pipeline.feature_extractor is None
    dtypes = {module.dtype for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder)}
    assert dtypes == {torch.float32}, "half precision is a matter of the disk alone"
    x_t = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    theirs = pipeline(
        ["oral carcinoma"], latents=x_t, num_inference_steps=3, guidance_scale=1.0, height=32,
        width=32, output_type="pt",
    ).images  # fmt: skip
    torch.testing.assert_close(
        theirs, images_of(loaded, x_t, "oral carcinoma", 3), rtol=0, atol=2e-4
    )


def test_a_new_card_makes_no_new_model_and_new_settings_do(ours: Path, tmp_path: Path) -> None:
    bundle = load_bundle(str(ours))
    names = {}
    for name, card, extra in (
        ("same", "as ever\n", bundle.extra),
        ("card", "told better\n", bundle.extra),
        ("settings", "as ever\n", {"steps": 8}),
    ):
        changed = replace(bundle, extra=extra)
        save_bundle(changed, tmp_path / name, card=card, stage="train")
        names[name] = load_bundle(str(tmp_path / name)).fingerprint
    assert names["card"] == names["same"] != names["settings"]
    assert len(names["same"]) == 64


def test_what_was_saved_comes_back(ours: Path) -> None:
    bundle = load_bundle(str(ours))
    assert (bundle.licence, bundle.mpp, bundle.extra) == ("research only", 0.5, {"steps": 7})
    assert bundle.native_size == 32 and bundle.schedule.prediction_type == "v_prediction"
    assert not any(m.training for m in (bundle.denoiser, bundle.text.encoder, bundle.codec.module))
    manifest = artifacts.load_manifest(ours)
    assert manifest.stage == "train" and manifest.inputs == {"latents": "abc"}
    assert "README.md" in manifest.files and (ours / "README.md").read_text() == CARD


def test_half_takes_half_the_disk_and_changes_little(ours: Path, tmp_path: Path) -> None:
    bundle = load_bundle(ours)
    save_bundle(bundle, tmp_path / "half", card=CARD, half=True)
    name = "unet/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "half" / name).stat().st_size < 0.6 * (ours / name).stat().st_size
    expected = bundle.denoiser.state_dict()
    assert next(iter(expected.values())).dtype == torch.float32, "the bundle itself is untouched"
    for key, value in load_bundle(tmp_path / "half").denoiser.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-5)


def test_saving_twice_gives_the_same_bytes(ours: Path, tmp_path: Path) -> None:
    bundle = load_bundle(ours)
    bundle.denoiser.to(memory_format=torch.channels_last)
    for name in ("a", "b"):
        save_bundle(bundle, tmp_path / name, card=CARD)
    assert artifacts.fingerprint(tmp_path / "a") == artifacts.fingerprint(tmp_path / "b")
    text = "".join(path.read_text() for path in (tmp_path / "a").rglob("*.json"))
    assert str(ours) not in text, "no path of this machine in a checkpoint"


def test_saving_does_not_write_over_foreign_files(ours: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="no stage of crafts wrote"):
        save_bundle(load_bundle(ours), tmp_path, card=CARD)


@torch.no_grad()
def test_opens_the_folder_of_sd15(sd15: tuple[Path, dict]) -> None:
    folder, modules = sd15
    bundle = load_bundle(folder)
    for name, loaded in (
        ("unet", bundle.denoiser),
        ("vae", bundle.codec.module),
        ("text_encoder", bundle.text.encoder),
    ):
        expected = modules[name].state_dict()
        assert loaded.state_dict().keys() == expected.keys()
        assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())
    assert bundle.licence == "creativeml-openrail-m" and bundle.mpp == "unknown"
    assert bundle.native_size == 512 and bundle.schedule.prediction_type == "epsilon"
    images = torch.rand(1, 3, 16, 16)
    raw = modules["vae"].encode(images).latent_dist.mean
    torch.testing.assert_close(bundle.codec.encode(images)[0], raw * 0.18215)


@torch.no_grad()
def test_pooling_of_sd15_finds_its_end_token(sd15: tuple[Path, dict]) -> None:
    """Its configuration says eos_token_id 2, which means: the highest id of the sequence."""
    bundle = load_bundle(sd15[0])
    features = bundle.text.encode(["oral carcinoma"])
    end = bundle.text.count_tokens("oral carcinoma") - 1
    torch.testing.assert_close(features.pooled[0], features.tokens[0, end])


def test_the_identity_of_a_foreign_folder_is_its_files(sd15: tuple[Path, dict], tmp_path) -> None:
    folder = copy(sd15[0], tmp_path)
    before = load_bundle(folder).fingerprint
    assert before == load_bundle(sd15[0]).fingerprint
    (folder / "safety_checker" / "config.json").write_text("{}")
    assert load_bundle(folder).fingerprint == before, "an unused part does not count"
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({**config, "x": 1}))
    assert load_bundle(folder).fingerprint != before


def test_sd15_can_be_saved_as_ours(sd15: tuple[Path, dict], tmp_path: Path) -> None:
    save_bundle(load_bundle(sd15[0]), tmp_path / "model", card=CARD)
    again = load_bundle(tmp_path / "model")
    assert again.licence == "creativeml-openrail-m"
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "model", local_files_only=True)
    assert type(pipeline.scheduler).__name__ == "PNDMScheduler"


def test_half_precision_keeps_the_identity_of_the_latents(ours: Path, tmp_path: Path) -> None:
    bundle = load_bundle(ours)
    save_bundle(bundle, tmp_path / "half", card=CARD, half=True)
    assert load_bundle(tmp_path / "half").codec.fingerprint == bundle.codec.fingerprint


def test_a_full_disk_while_weights_are_written(ours: Path, tmp_path: Path, monkeypatch) -> None:
    """diffusers writes through safetensors, whose error bears the number in its text."""
    import diffusers.models.modeling_utils as writer
    from safetensors import SafetensorError

    def full(*arguments, **keywords):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(writer.safetensors.torch, "save_file", full)
    with pytest.raises(RetryError, match="the disk is full"):
        save_bundle(load_bundle(ours), tmp_path / "model", card=CARD)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_refused_by_name(ours: Path, tmp_path: Path, damage: str) -> None:
    folder = copy(ours, tmp_path)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-5] ^= 4
        path.write_bytes(bytes(data))
    elif damage == "cut":
        path.write_bytes(bytes(data[:-100]))
    else:
        path.unlink()
    with pytest.raises(IntegrityError, match=r"unet/diffusion_pytorch_model\.safetensors"):
        load_bundle(folder)


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_damage_without_a_manifest_is_refused_too(
    sd15: tuple[Path, dict], tmp_path: Path, part: str
) -> None:
    folder = copy(sd15[0], tmp_path)
    path = next((folder / part).glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=f"{part}: unreadable weights"):
        load_bundle(folder)


def test_missing_weights_are_refused(sd15: tuple[Path, dict], tmp_path: Path) -> None:
    """diffusers would fill them with noise and say so in a log line."""
    from safetensors.torch import load_file, save_file

    folder = copy(sd15[0], tmp_path)
    for part, name in (
        ("unet", "conv_in.weight"),
        ("text_encoder", "text_model.final_layer_norm.bias"),
    ):
        path = next((folder / part).glob("*.safetensors"))
        weights = load_file(path)
        kept = weights.pop(name)
        save_file(weights, path)
        with pytest.raises(DataError, match=f"{part}"):
            load_bundle(folder)
        save_file({**weights, name: kept}, path)
    load_bundle(folder)


def test_pickled_weights_are_refused(sd15: tuple[Path, dict], tmp_path: Path) -> None:
    folder = copy(sd15[0], tmp_path)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))
    with pytest.raises(ConfigError, match=r"pickled weights only \(diffusion_pytorch_model\.bin\)"):
        load_bundle(folder)


def test_a_folder_of_fp16_files_alone_opens(ours: Path, tmp_path: Path) -> None:
    folder = copy(ours, tmp_path)
    (folder / "manifest.json").unlink()
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_suffix(".fp16.safetensors"))
    expected = load_bundle(ours).denoiser.state_dict()
    loaded = load_bundle(folder).denoiser.state_dict()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("part", "key", "value", "words"),
    [
        ("unet", "_class_name", "UNet3D", "UNet2DConditionModel"),
        ("unet", "_class_name", "my_module.Custom", "UNet2DConditionModel"),
        ("vae", "_class_name", "VQModel", "AutoencoderKL or AutoencoderTiny"),
    ],
)
def test_other_architectures_are_refused(
    sd15: tuple[Path, dict], tmp_path: Path, part: str, key: str, value: str, words: str
) -> None:
    folder = copy(sd15[0], tmp_path)
    path = folder / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ConfigError, match=words):
        load_bundle(folder)


def test_parts_that_do_not_fit_are_refused(ours: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_bundle(tiny_bundle(tmp_path / "words", tiny_codec(channels=5)), folder, card=CARD)
    with pytest.raises(ConfigError, match="in_channels: 4; expected 5"):
        load_bundle(folder)


def test_a_missing_part_is_named(sd15: tuple[Path, dict], tmp_path: Path) -> None:
    folder = copy(sd15[0], tmp_path)
    shutil.rmtree(folder / "vae")
    with pytest.raises(ConfigError, match="no folder 'vae'"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("runs/none/at/all", "no such folder"),
        ("someone/some-model", "no downloaded copy"),
        ("~", "no such folder"),
    ],
)
def test_unknown_models_are_refused_in_four_parts(source: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_bundle(source)
    assert all((caught.value.where, caught.value.came, caught.value.allowed, caught.value.do))


def test_the_hub_is_asked_only_when_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, as all tests are: the answer is an error of four parts and no traceback."""
    with pytest.raises(ConfigError, match="Check the id and the connection"):
        load_bundle("someone/some-model", network=True)


def test_a_folder_without_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a path without model_index\.json"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("inside", ["model", "checkpoints/step-0000002"])
def test_the_folder_of_a_run_points_to_the_checkpoint_in_it(inside: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / inside
    checkpoint.mkdir(parents=True)
    (checkpoint / "model_index.json").write_text("{}")
    with pytest.raises(ConfigError, match=f"Pass {checkpoint}"):
        load_bundle(tmp_path)


def test_mini_is_the_shipped_folder(ours: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("crafts.model.files.places.SHIPPED", tmp_path)
    with pytest.raises(ConfigError, match="no shipped weights"):
        load_bundle("mini")
    shutil.copytree(ours, tmp_path / "mini")
    assert resolve_model("mini") == tmp_path / "mini"
    assert load_bundle("mini").licence == "research only"


def test_what_it_was_trained_on_is_kept_and_is_no_part_of_its_identity(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "words")
    save_bundle(bundle, tmp_path / "silent", card=CARD)
    known = collect([{"key": "a", "text": "Colon, benign.", "label": "benign"}])
    save_bundle(replace(bundle, trained_on=known), tmp_path / "telling", card=CARD)
    silent, informed = load_bundle(tmp_path / "silent"), load_bundle(tmp_path / "telling")
    assert (silent.trained_on, informed.trained_on) == (None, known)
    assert silent.fingerprint == informed.fingerprint
    (tmp_path / "telling" / "trained_on.json").write_text("{}")
    with pytest.raises(IntegrityError, match="trained_on.json"):
        load_bundle(tmp_path / "telling")


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\ntext", "mit"),
        ("---\r\nlicense: mit\r\n---\r\ntext", "mit"),
        ("# no header\nlicense: mit", "unknown"),
        ("---\nlicense: [\n---\n", "unknown"),
        ("---\n- a list\n---\n", "unknown"),
        (None, "unknown"),
    ],
)
def test_licence_of_a_card(card: str | None, licence: str, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    if card is not None:
        path.write_text(card, newline="")
    assert read_licence(path) == licence


def test_bundle_moves_as_one(ours: Path) -> None:
    bundle = load_bundle(ours).to(torch.float64)
    dtypes = {m.dtype for m in (bundle.denoiser, bundle.text.encoder, bundle.codec.module)}
    assert dtypes == {torch.float64}


@pytest.mark.parametrize("inside", [".", "tokenizer"], ids=["a model", "its tokenizer"])
def test_tokens_are_counted_as_the_model_counts_them(inside: str, ours: Path) -> None:
    count, text = load_token_counter(ours / inside), load_bundle(ours).text
    for words in ("", "dark nuclei in pale stroma", "tumour " * 200):
        assert count(words) == text.count_tokens(words)


def test_the_counter_of_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a path without model_index.json"):
        load_token_counter(tmp_path)
