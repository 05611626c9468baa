"""The FID Inception: names, shapes and numbers of its parts, and which weights it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from crafts.core.errors import ConfigError, DataError
from crafts.model.vision.inception import FIDInception, load_inception, prepare_image
from reference import inception as reference

# parameters of the published network without its head: 21,768,352 trained ones in Keras, which
# leaves out the 17,216 gains of batch normalisation
NUM_PARAMETERS = 21_768_352 + 17_216
SHAPES = {
    "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
    "Conv2d_4a_3x3.conv.weight": (192, 80, 3, 3),
    "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
    "Mixed_5d.branch5x5_2.conv.weight": (64, 48, 5, 5),
    "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
    "Mixed_6b.branch7x7dbl_5.conv.weight": (192, 128, 1, 7),
    "Mixed_6e.branch7x7_3.conv.weight": (192, 192, 7, 1),
    "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
    "Mixed_7b.branch3x3_1.conv.weight": (384, 1280, 1, 1),
    "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
    "Mixed_7c.branch1x1.bn.running_var": (320,),
}


@pytest.fixture(scope="module")
def network() -> FIDInception:
    """Random weights that keep the signal alive through 94 layers, means and gains not trivial."""
    torch.manual_seed(0)
    made = FIDInception()
    for module in made.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.8, 1.2)
            module.bias.data.uniform_(-0.1, 0.1)
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return made.eval()


@pytest.fixture(scope="module")
def stored(network: FIDInception) -> dict[str, torch.Tensor]:
    """As the file of pytorch-fid holds them: with the head, without counters."""
    weights = {
        name: value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    return weights | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


def test_names_shapes_and_number_of_parameters(network: FIDInception) -> None:
    weights = network.state_dict()
    assert {name: tuple(weights[name].shape) for name in SHAPES} == SHAPES
    assert sum(value.numel() for value in network.parameters()) == NUM_PARAMETERS
    assert sum(name.endswith("conv.weight") for name in weights) == 94


@torch.inference_mode()
def test_agrees_with_the_network_written_out(network: FIDInception) -> None:
    images = torch.rand(1, 3, 107, 91) * 2 - 1
    expected = reference.inception(network.state_dict(), images)
    assert expected.std() > 1e-2
    torch.testing.assert_close(network(images).double(), expected, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_one_by_one_block_is_a_product_of_matrices(network: FIDInception) -> None:
    unit = network.get_submodule("Mixed_5b").branch1x1
    x = torch.randn(2, 192, 4, 5)
    weight = unit.conv.weight[:, :, 0, 0].double().numpy()
    expected = np.einsum("oc,bchw->bohw", weight, x.double().numpy())
    mean, var = (
        getattr(unit.bn, name).double().numpy() for name in ("running_mean", "running_var")
    )
    gain, shift = unit.bn.weight.double().numpy(), unit.bn.bias.double().numpy()
    scale = gain / np.sqrt(var + 0.001)
    expected = (expected - mean[:, None, None]) * scale[:, None, None] + shift[:, None, None]
    np.testing.assert_allclose(unit(x).numpy(), np.maximum(expected, 0), atol=1e-5)


@torch.inference_mode()
def test_pooling_leaves_the_border_out(network: FIDInception) -> None:
    ones = torch.ones(1, 2048, 2, 2)
    for name, pooled in (("Mixed_7b", ones[:, :1280]), ("Mixed_7c", ones)):
        block = network.get_submodule(name)
        torch.testing.assert_close(block(pooled)[:, -192:], block.branch_pool(pooled))
    # minus one everywhere: a maximum with padding by zero, or a mean with it, would differ
    negative, last = -ones, network.get_submodule("Mixed_7c")
    torch.testing.assert_close(last(negative)[:, -192:], last.branch_pool(negative))


def test_an_image_is_resized_as_pytorch_fid_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    found = prepare_image(pixels)
    assert found.shape == (3, 299, 299) and found.min() >= -1 and found.max() <= 1
    # bilinear at half-pixel centres, written out for one output pixel
    y, x = (100 + 0.5) * 20 / 299 - 0.5, (200 + 0.5) * 30 / 299 - 0.5
    top, left = int(y), int(x)
    a, b = y - top, x - left
    part = pixels[top : top + 2, left : left + 2, 1].astype(np.float64)
    value = (1 - a) * ((1 - b) * part[0, 0] + b * part[0, 1])
    value += a * ((1 - b) * part[1, 0] + b * part[1, 1])
    assert found[1, 100, 200].item() == pytest.approx(value / 127.5 - 1, abs=1e-5)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_reads_both_kinds_of_files(network, stored, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(stored, path) if suffix == ".pth" else save_file(stored, path)
    loaded = load_inception(path)
    assert not loaded.training
    for name, value in network.named_parameters():
        assert torch.equal(loaded.get_parameter(name), value)


def test_other_weights_are_refused(stored, tmp_path: Path) -> None:
    stored = {name: torch.zeros(1).expand(value.shape) for name, value in stored.items()}
    imagenet = stored | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    torch.save(imagenet, tmp_path / "imagenet.pth")
    with pytest.raises(ConfigError, match=r"another network .*1,008 classes.*gives? no FID"):
        load_inception(tmp_path / "imagenet.pth")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="another network .at 'weight'"):
        load_inception(tmp_path / "other.pth")
    wrong = stored | {"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 5, 5)}
    torch.save(wrong, tmp_path / "wrong.pth")
    with pytest.raises(DataError, match="unreadable weights"):
        load_inception(tmp_path / "wrong.pth")


class Trap:
    """Would run code when unpickled."""

    def __reduce__(self):
        return (print, ("unpickled",))


def test_damaged_files_and_pickled_code_are_refused(stored, tmp_path: Path, capsys) -> None:
    stored = {name: torch.zeros(1).expand(value.shape) for name, value in stored.items()}
    with pytest.raises(ConfigError, match="no such file"):
        load_inception(tmp_path / "absent.pth")
    torch.save({"a": Trap()}, tmp_path / "trap.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save(stored, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:5000])
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "text.safetensors").write_text("not weights")
    for name in ("trap.pth", "list.pth", "cut.pth", "text.pth", "text.safetensors"):
        with pytest.raises(DataError, match=r"unreadable weights .*Download the file again"):
            load_inception(tmp_path / name)
    assert "unpickled" not in capsys.readouterr().out
