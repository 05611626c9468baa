"""A model folder chooses no code, takes no absurd memory and holds no NaN."""

from __future__ import annotations

import json
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from crafts.core.errors import ConfigError, DataError, IntegrityError
from crafts.model.bundle import load_bundle
from crafts.model.config import ResNetVision
from crafts.model.encoders import (
    DualEncoderConfig,
    build_dual_encoder,
    load_dual_encoder,
    save_dual_encoder,
)
from crafts.model.files.guards import check_config, check_finite, check_size, count_stored
from crafts.model.schedule import Schedule
from crafts.model.segmenter import (
    SegmenterConfig,
    build_segmenter,
    load_segmenter,
    save_segmenter,
)
from fixtures_model import TINY_TEXT, tiny_tokenizer


@pytest.fixture
def foreign(tmp_path, tiny_model):
    """A whole model without a manifest, as any folder in the layout of SD-1.5."""
    shutil.copytree(tiny_model, tmp_path / "foreign")
    (tmp_path / "foreign/manifest.json").unlink()
    return tmp_path / "foreign"


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def spoil(path, value):
    tensors = load_file(path)
    name = next(name for name in sorted(tensors) if tensors[name].is_floating_point())
    tensors[name].view(-1)[0] = value
    save_file(tensors, path, metadata={"format": "pt"})
    return name


def test_a_foreign_folder_opens_and_is_told_of(foreign, capsys):
    load_bundle(foreign)
    assert f"NOT VERIFIED: {foreign} has no manifest.json" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_refused_by_name(foreign, part, value):
    (path,) = (foreign / part).glob("*.safetensors")
    spoil(path, value)
    with pytest.raises(DataError, match=rf"{part}: \S+: 1 of \d+ weights not finite") as caught:
        load_bundle(foreign)
    assert caught.value.exit_code == 3


def test_large_finite_weights_are_fine():
    check_finite({"a": torch.full((1000,), 3e38), "b": torch.zeros(3, dtype=torch.int64)}, "here")


def test_a_checkpoint_on_the_way_that_lost_its_manifest_is_refused(foreign):
    (foreign / "training").mkdir()
    with pytest.raises(IntegrityError, match=r"whose manifest\.json is lost"):
        load_bundle(foreign)


def test_a_component_of_ours_that_lost_its_manifest_is_refused(tmp_path):
    save_segmenter(build_segmenter(SegmenterConfig(widths=(8, 16))), tmp_path / "s")
    vision = ResNetVision(embedding_size=8, hidden_sizes=(8, 16), depths=(1, 1))
    config = DualEncoderConfig(vision=vision, text=TINY_TEXT, projection_dim=12, image_size=32)
    encoder = build_dual_encoder(config, tiny_tokenizer(tmp_path / "words"))
    save_dual_encoder(encoder, tmp_path / "d")
    for load, name in ((load_segmenter, "s"), (load_dual_encoder, "d")):
        with pytest.raises(IntegrityError, match=r"whose manifest\.json is lost"):
            load(tmp_path / name)


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("unet", {"block_out_channels": [2**20, 2**20]}, "weights, beside files of"),
        ("unet", {"cross_attention_dim": 10**9}, "weights, beside files of"),
        ("unet", {"layers_per_block": 10**8}, "layers_per_block: 100000000; expected at most 512"),
        ("unet", {"block_out_channels": [32] * 10**5}, "block_out_channels: .* at most 64 entries"),
        ("unet", {"sample_size": 10**6}, "sample_size: 1000000; expected 1 to 1024 latent cells"),
        ("unet", {"sample_size": "big"}, "sample_size: 'big'; expected 1 to 1024 latent cells"),
        ("unet", {"norm_num_groups": 0}, "no network can be built from"),
        ("unet", {"block_out_channels": "abc"}, "no network can be built from"),
        ("text_encoder", {"num_hidden_layers": 10**7}, "num_hidden_layers: 10000000; expected at"),
        ("text_encoder", {"hidden_size": 10**6}, "weights, beside files of"),
        ("text_encoder", {"vocab_size": 10**12}, "vocab_size: 1000000000000; expected at most"),
        ("text_encoder", {"_attn_implementation": "owner/kernel"}, "no code of the folder's"),
        ("text_encoder", {"attn_implementation": "owner/kernel"}, "no code of the folder's"),
        ("text_encoder", {"auto_map": {"AutoModel": "evil.Evil"}}, "no code of the folder's"),
        ("text_encoder", {"quantization_config": {"quant_method": "x"}}, "quantization_config: "),
        ("unet", {"attn_processor": "evil.Processor"}, "no code of the folder's"),
        ("unet", {"_class_name": "os.system"}, "_class_name: 'os.system'; expected UNet2DCond"),
        ("vae", {"decoder_block_out_channels": [2**20] * 4}, "weights, beside|can be built"),
    ],
)  # fmt: skip
def test_settings_beyond_reason_are_refused_before_anything_is_built(foreign, part, values, words):
    change(foreign / part / "config.json", **values)
    with pytest.raises((ConfigError, DataError), match=words):
        load_bundle(foreign)


def test_a_schedule_beyond_reason_is_refused():
    for values in (
        {"num_train_timesteps": 10**12},
        {"num_train_timesteps": "many"},
        {"beta_start": float("nan")},
        {"beta_end": 7},
        {"trained_betas": [0.1] * 200_000},
        {"trained_betas": "x"},
        {"num_train_timesteps": -1},
    ):
        with pytest.raises(ConfigError, match="2 to 100000 timesteps, betas between 0 and 1"):
            Schedule.from_config(values)


@pytest.mark.parametrize(
    "header",
    [
        b"{" + b" " * 50,
        b"[]",
        json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}),
        json.dumps({"a": {"shape": [1]}}),
        json.dumps({"a": 3}),
    ],
)
def test_a_header_that_says_more_than_its_file_holds_is_refused(tmp_path, header):
    header = header.encode() if isinstance(header, str) else header
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(DataError, match=r"model\.safetensors: unreadable weights"):
        count_stored(tmp_path)
    path.write_bytes(struct.pack("<Q", 2**60))
    with pytest.raises(DataError, match="a header of 1152921504606846976 bytes in a file of 8"):
        count_stored(tmp_path)


def test_the_numbers_of_weights_are_counted_from_headers(tmp_path):
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, tmp_path / "model.safetensors")
    assert count_stored(tmp_path) == 17
    check_size(tmp_path, lambda: torch.nn.Linear(4, 3))
    with pytest.raises(DataError, match="a network of 100010000 weights, beside files of 17"):
        check_size(tmp_path, lambda: torch.nn.Linear(10_000, 10_000))


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ('{"weight_map": {"a": "../elsewhere.safetensors"}}', r"'\.\./elsewhere\.safetensors'"),
        ('{"weight_map": {"a": "absent.safetensors"}}', r"'absent\.safetensors'"),
        ('{"weight_map": 3}', "no readable list of files"),
        ("[", "no readable list of files"),
    ],
)
def test_an_index_of_weights_names_files_beside_it(foreign, index, words):
    (foreign / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(index)
    with pytest.raises(DataError, match=rf"index\.json: .*{words}"):
        load_bundle(foreign)


def test_settings_are_looked_at_on_every_level(tmp_path):
    deep: dict = {"auto_map": {"A": "b"}}
    for _ in range(5000):
        deep = {"text_config": deep}
    with pytest.raises(ConfigError, match="auto_map"):
        check_config(deep, tmp_path)
    check_config({"vision_config": {"attn_implementation": "sdpa", "num_layers": 12}}, tmp_path)
