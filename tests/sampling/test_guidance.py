import pytest
import torch

from crafts.core.errors import ConfigError
from crafts.sampling.guidance import guided, within

TOKENS, UNCONDITIONAL = torch.ones(2, 3, 4), torch.zeros(2, 3, 4)


class Counting:
    """Predicts the mean of the tokens; remembers its batch sizes."""

    def __init__(self):
        self.batches = []

    def __call__(self, x_t, t, tokens):
        self.batches.append(len(tokens))
        return (
            x_t.repeat(len(tokens) // len(x_t), 1, 1, 1) + tokens.mean((1, 2))[:, None, None, None]
        )


def test_guidance_is_u_plus_scale_times_difference():
    denoiser, x_t = Counting(), torch.randn(2, 1, 2, 2)
    prediction = guided(denoiser, TOKENS, UNCONDITIONAL, 7.5)(x_t, torch.tensor(5))
    torch.testing.assert_close(prediction, x_t + 7.5)
    assert denoiser.batches == [4]


def test_texts_of_other_lengths_are_told_one_after_the_other():
    denoiser, x_t = Counting(), torch.randn(2, 1, 2, 2)
    prediction = guided(denoiser, TOKENS, UNCONDITIONAL[:, :1], 7.5)(x_t, torch.tensor(5))
    torch.testing.assert_close(prediction, x_t + 7.5)
    assert denoiser.batches == [2, 2]


def test_scale_one_is_off_and_needs_no_unconditional():
    denoiser, x_t = Counting(), torch.randn(2, 1, 2, 2)
    prediction = guided(denoiser, TOKENS, None, 1.0)(x_t, torch.tensor(5))
    torch.testing.assert_close(prediction, x_t + 1)
    assert denoiser.batches == [2]


def test_guidance_without_unconditional_is_refused():
    with pytest.raises(
        ConfigError, match="guidance_scale: 2 without an unconditional; expected 1.0"
    ):
        guided(Counting(), TOKENS, None, 2.0)


def test_interval_switches_by_fraction_of_steps():
    timesteps = torch.tensor([900, 700, 500, 300, 100])
    chosen = within((0.2, 0.8), timesteps, lambda x_t, t: "guided", lambda x_t, t: "plain")
    assert [chosen(None, t) for t in timesteps] == ["plain", "guided", "guided", "guided", "plain"]


@pytest.mark.parametrize("interval", [(0.5, 0.2), (-0.1, 1.0), (0.0, 1.1)])
def test_interval_out_of_order_is_refused(interval):
    with pytest.raises(ConfigError, match="guidance interval: .*expected 0 <= start <= stop <= 1"):
        within(interval, torch.tensor([1]), None, None)
