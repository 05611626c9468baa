"""Every recipe loads, has a header with its command, and names only fields that exist.

Those at the papers' sizes take two steps on folders of the same files at tiny widths.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import crafts
from crafts.conditions.text import CaptionEncoder
from crafts.core.config import load_config
from crafts.core.errors import ConfigError
from crafts.model.bundle import load_bundle
from crafts.model.codec import load_codec
from crafts.model.control import check_control, load_control
from crafts.model.encoders import load_text_conditioner
from crafts.training.tasks.denoiser import DenoiserStage
from crafts.training.train import TrainConfig
from crafts.workflows.scorecards import codec as scorecard
from fixtures_papers import SIDE, write_clip, write_f4_vae, write_sd15, write_tiles

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
SMALL = ("num_steps=2", "global_batch_size=4", "micro_batch_size=2", "device=cpu")
LENGTHS = (20, 35, 50, 154)
MEAN = ("mean over sets", 2)
OPTION = re.compile(r"--set (stage\.[\w.]+=[\w./-]+)")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    return load_config(TrainConfig, path, overrides)


def read_header(path: Path) -> str:
    """The comment lines that a recipe begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(takewhile(lambda line: line.startswith("#"), lines))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_recipe_loads_and_says_how_to_run_it(path: Path) -> None:
    assert load_recipe(path).num_steps > 0
    header = read_header(path)
    assert f"crafts train {path.relative_to(ROOT)}" in header
    assert re.search(r"\bCost\b", header) and re.search(r"\b(Expected|[Ss]core)\b", header)


def test_the_whole_build_names_recipes_options_and_commands_that_exist() -> None:
    text = (ROOT / "recipes/mini/build.sh").read_text().replace("\\\n", " ")
    text = text.replace("$HERE", "recipes/mini")
    trained = re.findall(r"crafts train (\S+) (.*)", text)
    assert len(trained) >= 10
    for path, options in trained:
        assert load_recipe(ROOT / path, re.findall(r"--set (\S+=[\w./-]+)(?:\s|$)", options))
    for path in re.findall(r"recipes/mini/[\w-]+\.(?:py|md|yaml)", text):
        assert (ROOT / path).is_file(), path
    for variable, package in (("SCORE", "scorecards"), ("RELEASE", "releasing")):
        known = (ROOT / f"src/crafts/workflows/{package}/__main__.py").read_text()
        for name in re.findall(rf"\${variable} (\w+)", text):
            assert f" {name}=f" in known, name


def test_the_permissive_recipes_name_no_restricted_set() -> None:
    restricted = {"prostate_gleason_NC", "lizard128_NC", "monuseg_NC", "monusac_NC", "pannuke_NC"}
    unclear = {"lc25000", "breakhis400", "mopadi_tiles", "ebhi_polyp"}
    for path in (ROOT / "recipes" / "mini-permissive").glob("*.yaml"):
        recipe = load_recipe(path)
        used = set(recipe.data.sets)  # type: ignore[union-attr]
        # the denoiser's second leg reads latents of the same sets
        assert used and not used & (restricted | unclear), path.name


def test_the_options_that_pages_name_for_these_recipes_exist() -> None:
    pages = [ROOT / "docs" / "reproduce.md", ROOT / "docs" / "fine-tune.md"]
    pages += [path for path in RECIPES if path.parent.name in ("sd15", "summaries")]
    named = {found for path in pages for found in OPTION.findall(path.read_text())}
    assert len(named) >= 8
    for option in sorted(named):
        assert load_recipe(ROOT / "recipes" / "sd15" / "finetune.yaml", [option]), option


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SD-1.5, a CLIP, an autoencoder of f = 4, and shards and latents for each."""
    work = tmp_path_factory.mktemp("papers")
    write_sd15(work / "sd15")
    write_clip(work / "clip")
    write_f4_vae(work / "f4")
    crafts.pack(None, write_tiles(work / "tiles"), work / "shards")
    for name, model in (("latents", work / "sd15"), ("latents-f4", work / "f4")):
        crafts.encode({"tile_size": SIDE, "variants": 1}, work / "shards", work / name, model=model)
    return work


def small(work: Path, name: str, *more: str) -> TrainConfig:
    """A recipe of the papers as it stands, apart from sizes and folders."""
    path = ROOT / "recipes" / f"{name}.yaml"
    overrides = [*SMALL, f"data.folder={work / 'latents'}"]
    if not any(word in name for word in ("codec", "decoder", "control")):
        overrides.append("stage.prompts=[til]")  # one picture at the end is enough
    if name.startswith("summaries/tokens"):
        widths = "[8, 16, 24, 40]"  # 192, 384, 576, 960
        overrides += [
            f"data.folder={work / 'latents-f4'}",
            f"stage.codec_from={work / 'f4'}",
            f"stage.text_from={work / 'clip'}",
            f"stage.denoiser.block_out_channels={widths}",
            "stage.denoiser.cross_attention_dim=16",
            "stage.denoiser.norm_num_groups=8",
            f"stage.denoiser.sample_size={SIDE // 4}",
        ]
    elif name.startswith("sd15"):
        overrides.append(f"stage.init_from={work / 'sd15'}")
    return load_config(TrainConfig, path, [*overrides, *more])


def losses(output: Path) -> list[dict[str, Any]]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sd15/pretrain", {"denoising", "semantic"}),
        ("sd15/finetune", {"denoising", "semantic", "category"}),
        ("sd15/full", {"denoising"}),  # lora: below, with a new decoder
    ],
)
def test_sd15_takes_two_steps(
    work: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    expected: set[str],
) -> None:
    crafts.train(small(work, name), tmp_path / "run")
    if "category" in expected:  # from the column of labels, where one row in four has none
        printed = capsys.readouterr().err
        assert "8 of 10 training rows belong to 3 of the 30 categories" in printed
    rows = losses(tmp_path / "run")
    assert len(rows) == 2 and expected <= rows[0].keys()
    assert not {"semantic", "category"} & (rows[0].keys() - expected)
    before, after = load_bundle(work / "sd15"), load_bundle(tmp_path / "run" / "model")
    same = [
        torch.equal(a, b)
        for a, b in zip(before.denoiser.parameters(), after.denoiser.parameters(), strict=True)
    ]
    assert not all(same)  # the denoiser has learnt, and nothing else has
    assert before.codec.fingerprint == after.codec.fingerprint
    for a, b in zip(before.text.encoder.parameters(), after.text.encoder.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_controlnet_of_sd15_takes_two_steps(work: Path, tmp_path: Path) -> None:
    folder = f"data.folder={work / 'shards'}"
    crafts.train(small(work, "sd15/control-fluorescence", folder), tmp_path / "run")
    assert [row["denoising"] > 0 for row in losses(tmp_path / "run")] == [True, True]
    control, bundle = load_control(tmp_path / "run"), load_bundle(work / "sd15")
    check_control(control, bundle, where="here")
    assert (control.kind, control.factor) == ("fluorescence", 8)
    assert any(bool(p.any()) for p in control.module.controlnet_mid_block.parameters())


def test_summaries_take_two_steps_and_are_used_without_padding(work: Path, tmp_path: Path) -> None:
    crafts.train(small(work, "summaries/tokens-35"), tmp_path / "run")
    assert len(losses(tmp_path / "run")) == 2
    bundle = load_bundle(tmp_path / "run" / "model")
    assert not bundle.text.padded and bundle.codec.factor == 4
    assert bundle.schedule.prediction_type == "epsilon"
    assert bundle.codec.fingerprint == load_codec(work / "f4").fingerprint
    clip = load_text_conditioner(work / "clip")
    assert torch.equal(clip.encode(["til"]).tokens, bundle.text.encode(["til"]).tokens)
    images = crafts.load(tmp_path / "run" / "model").generate(
        ["high tumor; low til; carcinoma"], preset="paper", num_steps=2, guidance_scale=1.5
    )
    assert images[0].size == (SIDE, SIDE)


@pytest.mark.parametrize("tokens", LENGTHS)
def test_length_is_paid_for(work: Path, tokens: int) -> None:
    stage = load_recipe(ROOT / "recipes" / "summaries" / f"tokens-{tokens}.yaml").stage
    assert isinstance(stage, DenoiserStage) and stage.max_tokens
    words = " ".join(["carcinoma"] * 400)
    text = load_text_conditioner(work / "clip")
    text.padded = False
    captions = CaptionEncoder(
        text,
        stage.num_chunks,
        device=torch.device("cpu"),
        dtype=torch.float32,
        max_tokens=stage.max_tokens,
    )
    assert captions.encode(["til"])["tokens"].shape[1] < 10  # not 77
    assert captions.encode(["til", words])["tokens"].shape[1] == stage.max_tokens


def test_the_decoder_of_sd15_learns_and_its_latents_stay_valid(work: Path, tmp_path: Path) -> None:
    vae = work / "sd15" / "vae"
    half = tmp_path / "vae"  # as the hub holds it, too
    half.mkdir()
    shutil.copy(vae / "config.json", half)
    weights = {name: value.half() for name, value in load_codec(vae).module.state_dict().items()}
    save_file(weights, half / "diffusion_pytorch_model.fp16.safetensors")
    fields = [f"data.folder={work / 'shards'}", f"stage.init_from={half}", "stage.crop=32"]
    fields += ["optim.lr=0.01", "optim.warmup_steps=0"]
    crafts.train(small(work, "sd15/decoder", *fields), tmp_path / "run")
    before, after = load_codec(vae), load_codec(tmp_path / "run" / "model")
    assert before.fingerprint == after.fingerprint
    parts = {name.split(".")[0] for name in changed(before.module, after.module)}
    assert parts == {"decoder", "post_quant_conv"}
    rows = losses(tmp_path / "run")
    assert len(rows) == 2 and rows[0]["l1"] > 0
    # latents of the old decoder train with the new one
    joined = f"stage.codec_from={tmp_path / 'run' / 'model'}"
    crafts.train(small(work, "sd15/lora", joined), tmp_path / "lora")
    assert len(losses(tmp_path / "lora")) == 2
    bundle = load_bundle(tmp_path / "lora" / "model")
    assert not changed(bundle.codec.module, after.module)


def test_an_autoencoder_of_f4_takes_two_steps(work: Path, tmp_path: Path) -> None:
    sizes = (
        "stage.codec.block_out_channels=[8, 8, 16]",
        "stage.codec.norm_num_groups=4",
        "stage.crop=32",
        "stage.discriminator.width=8",
        f"data.folder={work / 'shards'}",
    )
    crafts.train(small(work, "summaries/codec", *sizes), tmp_path / "run")
    codec = load_codec(tmp_path / "run" / "model")
    assert (codec.factor, codec.channels, codec.deterministic) == (4, 3, False)
    for model in (tmp_path / "run" / "model", work / "sd15"):  # alone, or in a whole model
        table, _ = scorecard.score(load_codec(model), work / "tiles", 2, split="validation")
        assert [(row["set"], row["tiles"]) for row in table] == [("noise", 2), MEAN]
    with pytest.raises(ConfigError, match="no row of split 'heldout'; expected train, validation"):
        scorecard.read_split(work / "tiles", "heldout")


def changed(before: torch.nn.Module, after: torch.nn.Module) -> set[str]:
    """Names of the weights that differ; float16 storage is no difference."""
    pairs = zip(before.state_dict().items(), after.state_dict().values(), strict=True)
    return {name for (name, a), b in pairs if not torch.equal(a.half(), b.half())}
