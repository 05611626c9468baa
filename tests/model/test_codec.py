from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from crafts.core import artifacts
from crafts.core.config import Config, load_config
from crafts.core.errors import ConfigError, DataError, IntegrityError
from crafts.model.codec import (
    Codec,
    KLCodecConfig,
    TinyCodecConfig,
    build_codec,
    initialize_linear,
    load_codec,
    save_codec,
)
from crafts.model.config import CodecConfig
from fixtures_model import kl_codec, tiny_codec


def smooth_images(number: int, size: int, seed: int) -> torch.Tensor:
    """Random images with the falling spectrum of pictures, colours correlated, in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.zeros(number, 3, size, size)
    for side, weight in ((4, 0.45), (16, 0.3), (size // 2, 0.15)):
        coarse = torch.randn(number, 3, side, side, generator=generator)
        images += weight * F.interpolate(coarse, size, mode="bicubic")
    mixing = torch.tensor([[1.0, 0.5, 0.3], [0.4, 1.0, 0.4], [0.2, 0.5, 1.0]])
    return torch.tanh(torch.einsum("dc,nchw->ndhw", mixing, images) * 0.6)


@pytest.mark.parametrize("make", [tiny_codec, kl_codec])
def test_shapes_and_scaling(make) -> None:
    codec = make()
    with torch.no_grad():
        mean, std = codec.encode(torch.zeros(2, 3, 32, 48))
        images = codec.decode(mean)
    assert codec.factor == 8 and codec.channels == 4
    assert mean.shape == std.shape == (2, 4, 4, 6) and images.shape == (2, 3, 32, 48)
    assert codec.deterministic == bool((std == 0).all())


def test_kl_latents_carry_the_scaling_factor() -> None:
    codec, images = kl_codec(), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        raw = codec.module.encode(images).latent_dist
        mean, std = codec.encode(images)
        torch.testing.assert_close(mean, raw.mean * 0.18215)
        torch.testing.assert_close(std, raw.std * 0.18215)
        torch.testing.assert_close(codec.decode(mean), codec.module.decode(raw.mean).sample)


def test_mini_has_the_size_it_should() -> None:
    codec = build_codec(TinyCodecConfig())
    assert (codec.factor, codec.channels) == (8, 8)
    assert sum(p.numel() for p in codec.module.parameters()) == 1_381_067


@pytest.mark.parametrize("make", [tiny_codec, kl_codec])
@pytest.mark.parametrize("half", [False, True])
def test_save_and_load(make, half: bool, tmp_path: Path, capfd) -> None:
    codec = make()
    codec.module.to(memory_format=torch.channels_last)
    before = codec.fingerprint
    save_codec(codec, tmp_path / "vae", half=half)
    loaded = load_codec(tmp_path / "vae")
    assert codec.fingerprint == before, "saving changes nothing"
    assert next(loaded.module.parameters()).dtype == torch.float32 and not loaded.module.training
    assert loaded.fingerprint == before, "nor does storage in half precision"
    expected = codec.module.state_dict()
    for name, value in loaded.module.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-3 if half else 0)
    save_codec(loaded, tmp_path / "again")
    assert str(tmp_path) not in (tmp_path / "again" / "config.json").read_text()
    assert load_codec(tmp_path / "again").fingerprint == loaded.fingerprint
    assert "not expected" not in capfd.readouterr().err


def test_fingerprint_sees_one_weight() -> None:
    codec = tiny_codec()
    before = codec.fingerprint
    with torch.no_grad():
        next(codec.module.parameters()).view(-1)[0] += 1e-3
    assert codec.fingerprint != before and len(before) == 64


def test_a_flipped_bit_is_refused_where_there_is_a_manifest(tmp_path: Path) -> None:
    with artifacts.staging(tmp_path / "vae") as folder:
        save_codec(tiny_codec(), folder)
        artifacts.finish(folder, stage="test", config={})
    load_codec(tmp_path / "vae")
    path = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="safetensors: changed content"):
        load_codec(tmp_path / "vae")


def test_linear_start_explains_what_pca_explains() -> None:
    torch.manual_seed(0)
    config = TinyCodecConfig(
        encoder_width=32, decoder_width=8, num_encoder_blocks=(1, 2, 2, 2), latent_channels=6
    )
    codec = initialize_linear(build_codec(config), smooth_images(64, 64, 1))
    images = smooth_images(48, 64, 2)
    with torch.no_grad():
        latents = codec.encode(images)[0]
    deviation = latents.std((0, 2, 3))
    assert bool((deviation > 0.5).all()) and bool((deviation < 1.6).all()), deviation
    patches = F.pixel_unshuffle(images, 8).permute(0, 2, 3, 1).reshape(-1, 192).double()
    patches = patches - patches.mean(0)
    codes = latents.permute(0, 2, 3, 1).reshape(-1, 6).double()
    codes = codes - codes.mean(0)
    solution = torch.linalg.lstsq(codes, patches).solution
    explained = 1 - (patches - codes @ solution).square().sum() / patches.square().sum()
    values = torch.linalg.eigvalsh(patches.T @ patches).flip(0)
    best = values[:6].sum() / values.sum()
    assert explained > 0.97 * best, (explained, best)


def test_a_random_start_explains_far_less() -> None:
    """The control of the test above: without the initialisation the same measure is low."""
    torch.manual_seed(0)
    codec = build_codec(TinyCodecConfig(encoder_width=32, decoder_width=8, latent_channels=6))
    with torch.no_grad():
        deviation = codec.encode(smooth_images(8, 64, 2))[0].std((0, 2, 3))
    assert bool((deviation < 0.5).any())


def test_linear_start_refuses_other_networks() -> None:
    with pytest.raises(ConfigError, match="AutoencoderKL"):
        initialize_linear(kl_codec(), torch.zeros(1, 3, 16, 16))
    with pytest.raises(ConfigError, match="at least as wide as its latents"):
        initialize_linear(tiny_codec(width=8, channels=16), torch.zeros(1, 3, 16, 16))


def test_refuses_an_odd_size() -> None:
    with pytest.raises(DataError, match="30x32.*multiples of 8"):
        tiny_codec().encode(torch.zeros(1, 3, 32, 30))


def test_refuses_a_shift() -> None:
    module = kl_codec().module
    module.register_to_config(shift_factor=0.1)
    with pytest.raises(ConfigError, match="shift_factor"):
        Codec(module)


def test_configuration_is_a_tagged_union() -> None:
    class Recipe(Config):
        codec: CodecConfig

    recipe = load_config(Recipe, {"codec": {"kind": "kl", "norm_num_groups": 16}})
    assert isinstance(recipe.codec, KLCodecConfig)
    with pytest.raises(ConfigError, match="codec"):
        load_config(Recipe, {"codec": {"kind": "vq"}})
    with pytest.raises(ConfigError, match="multiples of norm_num_groups"):
        load_config(KLCodecConfig, {"norm_num_groups": 7})
    with pytest.raises(ConfigError, match="as many entries"):
        load_config(TinyCodecConfig, {"num_encoder_blocks": (1, 1)})
