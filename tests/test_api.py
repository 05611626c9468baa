"""The façade: pinned names, light imports, and a model that makes pictures."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import crafts
from crafts import api
from crafts.core.errors import ConfigError
from crafts.generation.export import read_provenance
from crafts.testing import FakeCodec, count_words, write_tiny_model

STAGES = ["audit", "benchmark", "caption", "encode", "evaluate", "generate", "pack", "study"]
STAGES += ["summarise", "tile", "train"]


def test_public_names_are_pinned():
    assert sorted(crafts.__all__) == sorted(["Model", "__version__", "load", "save", *STAGES])
    assert all(callable(getattr(crafts, name)) for name in [*STAGES, "load", "save", "Model"])
    assert set(crafts.__all__) <= set(dir(crafts))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = crafts.nonsense


def test_no_package_bears_the_name_of_a_public_function(root):
    folders = {path.name for path in (root / "src/crafts").iterdir() if path.is_dir()}
    assert folders & set(crafts.__all__) == set()


def test_import_takes_nothing_heavy():
    code = (
        "import sys, crafts, crafts.api, crafts.cli, crafts.doctor, crafts.testing\n"
        "import crafts.core.artifacts, crafts.core.config, crafts.core.protocols\n"
        "import crafts.core.records, crafts.core.runtime, crafts.data.pack\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'pandas', 'pyarrow', 'torchvision'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_generate_from_python(tiny_model):
    model = crafts.load(tiny_model)
    images = model.generate(["colon", "lung"], seed=1, num_images=2, num_steps=2)
    assert [image.size for image in images] == [(32, 32)] * 4
    again = model.generate("lung", seed=1, num_images=2, num_steps=2, batch_size=1)
    pairs = zip(images[2:], again, strict=True)
    assert max(np.abs(np.subtract(a, b, dtype=int)).max() for a, b in pairs) <= 2
    assert model.licence == "Apache-2.0"


def test_a_saved_image_says_how_it_was_made(tiny_model, tmp_path):
    image = crafts.load(tiny_model).generate("colon", seed=3, num_steps=2)[0]
    crafts.save(image, tmp_path / "colon.png")
    told = read_provenance(tmp_path / "colon.png")
    assert (told.prompt, told.seed, told.num_steps) == ("colon", 3, 2)
    with pytest.raises(ConfigError, match="an image of which nothing is known"):
        crafts.save(Image.new("RGB", (8, 8)), tmp_path / "other.png")


@pytest.mark.parametrize("prompts", [None, 3])
def test_prompts_that_are_no_text_are_refused(tiny_model, prompts):
    with pytest.raises(ConfigError, match="prompts"):
        crafts.load(tiny_model).generate(prompts)


def test_a_path_may_be_a_string(tmp_path):
    with pytest.raises(ConfigError, match="no such file|expected"):
        api.train(str(tmp_path / "absent.yaml"), tmp_path / "out")


def test_generate_stage_from_a_mapping_and_a_loaded_model(tiny_model, tmp_path):
    config = {"prompts": ["colon"], "model": str(tiny_model), "num_steps": 2}
    first = crafts.generate(config, tmp_path / "a")
    second = crafts.generate(config, tmp_path / "b", model=crafts.load(tiny_model))
    assert first.counts["images"] == 1
    image = "images/000-0.png"
    assert first.files[image].sha256 == second.files[image].sha256


def test_a_name_that_is_too_long_for_a_file_is_no_model():
    with pytest.raises(ConfigError, match="no such"):
        crafts.load("x" * 400)


def test_load_refuses_a_missing_model(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        crafts.load(tmp_path / "absent")


def test_generate_refuses_a_missing_model_before_it_writes(tmp_path):
    config = {"prompts": ["colon"], "model": str(tmp_path / "absent")}
    with pytest.raises(ConfigError, match="absent"):
        crafts.generate(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", ["pack", "encode", "generate"])
def test_configure_refuses_unknown_fields(stage):
    with pytest.raises(ConfigError, match="nonsense"):
        api.configure(stage, {"nonsense": 1})


def test_pack_and_encode_with_real_parts(tiny_model, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    source = tmp_path / "tiles" / "colon"
    source.mkdir(parents=True)
    for index in range(3):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(source / f"{index}.png")
    packed = crafts.pack(None, tmp_path / "tiles", tmp_path / "shards")
    assert packed.counts["used"] == 3
    config = {"tile_size": 32, "variants": 1}
    encoded = crafts.encode(config, tmp_path / "shards", tmp_path / "latents", model=tiny_model)
    assert encoded.stage == "encode" and (tmp_path / "latents" / "mean.npy").is_file()


def test_fake_codec_inverts_squares_of_one_colour():
    import torch

    codec = FakeCodec(factor=4)
    latents = torch.rand(2, 3, 2, 5)
    mean, std = codec.encode(codec.decode(latents))
    torch.testing.assert_close(mean, latents)
    assert not std.any()


def test_count_words_counts_the_ends():
    assert count_words("dark nuclei") == 4


def test_tiny_model_is_a_function_of_its_seed(tiny_model, tmp_path):
    def weights(folder):
        return sorted(p.read_bytes() for p in folder.rglob("*.safetensors"))

    assert weights(write_tiny_model(tmp_path / "same")) == weights(tiny_model)
    assert weights(write_tiny_model(tmp_path / "other", seed=1)) != weights(tiny_model)
