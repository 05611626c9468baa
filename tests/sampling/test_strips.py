import numpy as np
import pytest
import torch

from crafts.model.bundle import load_bundle
from crafts.sampling.sampler import decode_pixels
from crafts.sampling.strips import STRIP, StripDecoder


@pytest.fixture(scope="module")
def codec(tiny_model):
    return load_bundle(tiny_model).codec


@pytest.mark.parametrize(("height", "width"), [(3, 5), (STRIP, 2 * STRIP), (75, 70)])
def test_strips_are_the_picture_in_one_piece(codec, height, width):
    latents = torch.randn(4, height, width, generator=torch.Generator().manual_seed(height))
    whole = decode_pixels(codec, latents[None])[0]
    decoder = StripDecoder(codec, height)
    rows = [decoder.push(part) for part in latents.tensor_split([1, 2, 40, 41], dim=1)]
    found = np.concatenate(rows)
    assert found.shape == whole.shape
    assert np.abs(found.astype(int) - whole).max() <= 1  # the margin holds the field of view


def test_a_state_that_is_taken_up_changes_no_byte(codec):
    latents = torch.randn(4, 70, 9, generator=torch.Generator().manual_seed(1))
    first = StripDecoder(codec, 70)
    above = first.push(latents[:, :50])
    second = StripDecoder(codec, 70)
    second.restore(first.state())
    assert second.done == STRIP
    assert np.array_equal(second.push(latents[:, 50:]), first.push(latents[:, 50:]))
    assert len(above) == STRIP * codec.factor
