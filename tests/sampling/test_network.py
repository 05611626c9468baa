"""The fast way through a U-Net gives what its own ``forward`` gives, and does no work twice."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from crafts.model.denoiser import build_denoiser
from crafts.sampling.network import is_known, network_denoiser
from fixtures_model import _UNET, TINY_DENOISER

SHAPE, T = (2, 4, 8, 8), torch.tensor(500)


@pytest.fixture(params=["mini", "sd15"])
def network(request):
    torch.manual_seed(0)
    build = {
        "mini": lambda: build_denoiser(TINY_DENOISER),
        "sd15": lambda: UNet2DConditionModel.from_config(_UNET | {"sample_size": 8}),
    }[request.param]
    return build().eval()


def own(network, x_t, tokens):
    many = x_t.repeat(len(tokens) // len(x_t), 1, 1, 1)
    return network(many, T, encoder_hidden_states=tokens, return_dict=False)[0]


@torch.inference_mode()
@pytest.mark.parametrize("texts", [1, 2, 3])
def test_it_predicts_what_the_network_predicts(network, texts):
    x_t, tokens = torch.randn(SHAPE), torch.randn(2 * texts, 7, 16)
    expected = own(network, x_t, tokens)
    assert is_known(network)
    found = network_denoiser(network)(x_t, T, tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_keys_and_values_of_a_text_are_computed_once(network):
    calls = []
    for name, module in network.named_modules():
        if name.endswith(("attn2.to_k", "attn2.to_v")):
            module.register_forward_hook(lambda *_: calls.append(1))
    layers = sum(name.endswith("attn2") for name, _ in network.named_modules())
    denoiser, text, other = network_denoiser(network), *torch.randn(2, 2, 7, 16)
    x_t = torch.randn(SHAPE)
    for _ in range(3):
        first = denoiser(x_t, T, text)
    assert len(calls) == 2 * layers
    assert (denoiser(x_t, T, other) - first).abs().max() > 0
    assert len(calls) == 4 * layers
    torch.testing.assert_close(denoiser(x_t, T, text), own(network, x_t, text))


def test_what_is_trained_meanwhile_is_not_kept(network):
    denoiser, text, x_t = network_denoiser(network), torch.randn(2, 7, 16), torch.randn(SHAPE)
    before = denoiser(x_t, T, text)
    before.sum().backward()
    with torch.no_grad():
        for name, module in network.named_modules():
            if name.endswith("attn2.to_v"):
                assert module.weight.grad is not None
                module.weight.mul_(3)
    after = denoiser(x_t, T, text)
    assert (after - before).abs().max() > 1e-4
    torch.testing.assert_close(after, own(network, x_t, text))


@torch.inference_mode()
def test_layers_before_the_first_text_see_each_picture_once(network):
    seen = []
    network.conv_in.register_forward_hook(lambda _, given, out: seen.append(len(given[0])))
    network.conv_out.register_forward_hook(lambda _, given, out: seen.append(len(given[0])))
    network_denoiser(network)(torch.randn(SHAPE), T, torch.randn(4, 7, 16))
    assert seen == [2, 4]


@torch.inference_mode()
def test_a_network_with_other_parts_goes_its_own_way():
    network = UNet2DConditionModel.from_config(
        _UNET | {"sample_size": 8, "class_embed_type": "timestep"}
    ).eval()
    assert not is_known(network)
    told = []
    network.register_forward_pre_hook(
        lambda _, given, named: told.append((len(given[0]), named)), with_kwargs=True
    )
    with pytest.raises(ValueError, match="class_labels"):  # as diffusers says it
        network_denoiser(network)(torch.randn(SHAPE), T, torch.randn(4, 7, 16))
    assert told[0][0] == 4
