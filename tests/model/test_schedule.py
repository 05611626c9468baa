from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from crafts.core.config import load_config
from crafts.core.errors import ConfigError
from crafts.model.schedule import Schedule, ScheduleConfig, build_schedule, scheduler_config

T = torch.tensor([0, 1, 250, 500, 998, 999])


@pytest.fixture
def draws() -> tuple[torch.Tensor, torch.Tensor]:
    x0, noise = torch.randn(2, len(T), 4, 3, 3, generator=torch.Generator().manual_seed(0))
    return x0, noise


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_agrees_with_diffusers(beta_schedule: str, draws) -> None:
    """To 1e-6 for the schedule of SD-1.5; in the others the float32 product of diffusers drifts."""
    config = ScheduleConfig(beta_schedule=beta_schedule)
    ours, theirs = build_schedule(config), DDPMScheduler.from_config(scheduler_config(config))
    close = {"rtol": 0, "atol": 1e-6 if beta_schedule == "scaled_linear" else 5e-6}
    torch.testing.assert_close(ours.add_noise(*draws, T), theirs.add_noise(*draws, T), **close)
    torch.testing.assert_close(ours.target(*draws, T), theirs.get_velocity(*draws, T), **close)


def test_zero_terminal_snr_agrees_with_diffusers() -> None:
    config = ScheduleConfig(zero_terminal_snr=True)
    ours, theirs = build_schedule(config), DDIMScheduler.from_config(scheduler_config(config))
    torch.testing.assert_close(ours.alphas_cumprod, theirs.alphas_cumprod, rtol=0, atol=1e-6)
    assert ours.snr(torch.tensor([999])).item() == 0
    noise = torch.randn(1, 2, 2, 2)
    assert torch.equal(ours.add_noise(torch.ones(1, 2, 2, 2), noise, torch.tensor([999])), noise)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_the_target_leads_back_to_x0(prediction_type: str, draws) -> None:
    schedule = build_schedule(ScheduleConfig(prediction_type=prediction_type))
    x_t = schedule.add_noise(*draws, T)
    recovered = schedule.x0_from(schedule.target(*draws, T), x_t, T)
    torch.testing.assert_close(recovered, draws[0], rtol=1e-4, atol=1e-4)


def test_snr_is_signal_over_noise() -> None:
    schedule = build_schedule(ScheduleConfig())
    alphas = schedule.alphas_cumprod.double()[T]
    torch.testing.assert_close(schedule.snr(T).double(), alphas / (1 - alphas), rtol=1e-5, atol=0)
    assert schedule.num_timesteps == 1000 and bool((schedule.alphas_cumprod.diff() < 0).all())


def test_the_file_of_sd15_means_epsilon() -> None:
    """PNDM's file of 2022 names no prediction type."""
    schedule = Schedule.from_config(
        {
            "_class_name": "PNDMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear",
            "beta_start": 0.00085, "num_train_timesteps": 1000, "skip_prk_steps": True,
            "trained_betas": None,
        }
    )  # fmt: skip
    assert schedule.prediction_type == "epsilon"
    assert schedule.alphas_cumprod[-1].item() == pytest.approx(0.00466, abs=1e-5)


def test_trained_betas_are_taken() -> None:
    schedule = Schedule.from_config({"trained_betas": [0.1, 0.5]})
    assert schedule.alphas_cumprod.tolist() == pytest.approx([0.9, 0.45])


def test_the_ddim_file_is_what_pipelines_expect() -> None:
    config = scheduler_config(ScheduleConfig())
    scheduler = DDIMScheduler.from_config(config)
    assert scheduler.config.prediction_type == "v_prediction"
    assert (config["clip_sample"], config["set_alpha_to_one"], config["steps_offset"]) == (
        False,
        False,
        1,
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [({"beta_schedule": "sigmoid"}, "'sigmoid'"), ({"prediction_type": "flow"}, "'flow'")],
)
def test_refuses(config: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Schedule.from_config(config)
    with pytest.raises(ConfigError, match=next(iter(config))):
        load_config(ScheduleConfig, config)
