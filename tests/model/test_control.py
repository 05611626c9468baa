"""A ControlNet: nothing at first, the same again after saving, refused where it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel

from crafts.core.artifacts import load_manifest, staging
from crafts.core.errors import ConfigError, IntegrityError
from crafts.model.bundle import Bundle, load_bundle
from crafts.model.control import (
    build_control,
    check_control,
    load_control,
    save_control,
    strengthen,
    take_over,
    trained_beside,
)
from crafts.model.denoiser import DenoiserConfig, build_denoiser
from fixtures_model import write_sd15_folder
from fixtures_steering import WIDTHS, random_control, write_control

NAMES = tuple(f"channel {n}" for n in range(12))


@pytest.fixture(scope="module")
def bundle(tiny_model: Path) -> Bundle:
    return load_bundle(tiny_model)


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("sd15")
    write_sd15_folder(folder)
    return load_bundle(folder)


def inputs(bundle: Bundle, channels: int = 12) -> tuple[Any, ...]:
    side = bundle.native_size // bundle.codec.factor
    draws = torch.Generator().manual_seed(0)
    return (
        torch.randn(2, bundle.codec.channels, side, side, generator=draws),
        torch.tensor([10, 700]),
        torch.randn(2, 5, bundle.text.width, generator=draws),
        torch.rand(2, channels, bundle.native_size, bundle.native_size, generator=draws),
    )


@pytest.mark.parametrize("size", ["bundle", "sd15"])
@torch.no_grad()
def test_an_untrained_one_changes_nothing(size: str, request: pytest.FixtureRequest) -> None:
    model: Bundle = request.getfixturevalue(size)
    control = build_control(model.denoiser, kind="nuclei", channels=NAMES, widths=WIDTHS, factor=8)
    x_t, t, tokens, maps = inputs(model)
    down, middle = control.module(x_t, t, tokens, maps, return_dict=False)
    alone = model.denoiser(x_t, t, tokens, return_dict=False)[0]
    steered = model.denoiser(
        x_t, t, tokens, down_block_additional_residuals=down,
        mid_block_additional_residual=middle, return_dict=False,
    )[0]  # fmt: skip
    assert torch.equal(alone, steered)
    # and it begins as the denoiser's first half
    own, its = control.module.down_blocks.state_dict(), model.denoiser.down_blocks.state_dict()
    assert all(torch.equal(own[name], its[name]) for name in its)


@torch.no_grad()
def test_what_is_saved_is_what_is_loaded_by_us_and_by_diffusers(
    bundle: Bundle, tiny_model: Path, tmp_path: Path
) -> None:
    write_control(tiny_model, tmp_path / "control")
    before, after = random_control(bundle), load_control(tmp_path / "control")
    theirs = ControlNetModel.from_pretrained(tmp_path / "control").eval()
    expected = before.module(*inputs(bundle), return_dict=False)[1]
    assert expected.abs().max() > 0.1
    for module in (after.module, theirs):
        assert torch.equal(expected, module(*inputs(bundle), return_dict=False)[1])
    facts = load_manifest(tmp_path / "control").extra["control"]
    assert facts["kind"] == after.kind == "nuclei"
    assert tuple(facts["channels"]) == after.channels and after.channels[0] == "nucleus"
    assert after.mapping == before.mapping and after.licence == "Apache-2.0"
    assert trained_beside(after, bundle) and after.fingerprint and not before.fingerprint
    assert after.factor == bundle.codec.factor == 8


def test_half_takes_half_the_room(bundle: Bundle, tmp_path: Path) -> None:
    sizes = []
    for half in (False, True):
        with staging(tmp_path / str(half)) as temporary:
            save_control(random_control(bundle), temporary, card="", half=half)
        files = list((tmp_path / str(half)).glob("*.safetensors"))
        sizes.append(sum(path.stat().st_size for path in files))
        assert load_control(tmp_path / str(half)).module.dtype == torch.float32
    assert sizes[1] < 0.6 * sizes[0]


def test_a_changed_file_is_named(tiny_model: Path, tmp_path: Path) -> None:
    write_control(tiny_model, tmp_path / "control")
    path = next((tmp_path / "control").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=path.name):
        load_control(tmp_path / "control")


def test_other_folders_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file|no such folder; expected a ControlNet"):
        load_control(tmp_path / "absent")
    with pytest.raises(ConfigError, match=r"an artifact of another kind \(bundle\)"):
        load_control(tiny_model)
    (tmp_path / "theirs").mkdir()
    with pytest.raises(ConfigError, match="no manifest.json; expected a ControlNet that `crafts"):
        load_control(tmp_path / "theirs")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "depth"}, "control: kind: 'depth'; expected nuclei or fluorescence"),
        ({"widths": (4, 8)}, "control: widths: 2 widths; expected 4, as one latent cell stands"),
    ],
)
def test_what_cannot_be_built_is_refused(
    bundle: Bundle, values: dict[str, Any], message: str
) -> None:
    given = {"kind": "nuclei", "channels": NAMES, "widths": WIDTHS, "factor": 8} | values
    with pytest.raises(ConfigError, match=message):
        build_control(bundle.denoiser, **given)


def test_weights_of_other_layers_are_not_taken_over(bundle: Bundle, sd15: Bundle) -> None:
    wider = build_control(
        bundle.denoiser, kind="fluorescence", channels=("one",), widths=(4, 8, 8, 16), factor=8
    )
    with pytest.raises(ConfigError, match=r"other layers, as controlnet_cond_embedding\.blocks"):
        take_over(wider, random_control(bundle))
    deeper = build_control(
        sd15.denoiser, kind="fluorescence", channels=("one",), widths=WIDTHS, factor=8
    )
    with pytest.raises(ConfigError, match="expected a ControlNet of the same widths"):
        take_over(deeper, random_control(bundle))


def test_one_of_another_model_is_refused(bundle: Bundle, sd15: Bundle) -> None:
    with pytest.raises(ConfigError, match="here: block_out_channels: .*as in the denoiser"):
        check_control(random_control(bundle), sd15, where="here")
    config = DenoiserConfig(
        sample_size=4, channels=4, block_out_channels=(16, 32), attention=(False, True),
        num_heads=2, cross_attention_dim=16, norm_num_groups=8,
    )  # fmt: skip
    torch.manual_seed(1)
    again = Bundle(bundle.codec, bundle.text, build_denoiser(config), bundle.schedule)
    check_control(random_control(bundle), again, where="here")  # only trained further
    assert not trained_beside(random_control(bundle), again)


@torch.no_grad()
def test_a_strengthened_one_adds_so_much_more(bundle: Bundle) -> None:
    control = random_control(bundle)
    x_t, t, tokens, maps = inputs(bundle)
    down, middle = control.module(x_t, t, tokens, maps, return_dict=False)
    stronger = strengthen(control, 2.5)
    more, most = stronger.module(x_t, t, tokens, maps, return_dict=False)
    torch.testing.assert_close(most, 2.5 * middle, atol=1e-4, rtol=1e-5)
    for came, asked in zip(more, down, strict=True):
        torch.testing.assert_close(came, 2.5 * asked, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_a_control_is_not_turned_off_or_round(bundle: Bundle, factor: float) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        strengthen(random_control(bundle), factor)
