"""Solvers and the way from draws to pixels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from crafts.conditions.condition import Conditioner, bind
from crafts.conditions.networks import number_conditioners
from crafts.conditions.text import TextFeatures
from crafts.core.errors import ConfigError, DataError
from crafts.core.parsing import shorten
from crafts.core.runtime import generator_for
from crafts.sampling.draws import Draw, encode_draws, group_draws
from crafts.sampling.edits import (
    beside,
    encode_sources,
    first_step,
    free_latents,
    keeping,
    load_sources,
)
from crafts.sampling.guidance import Denoise, TextDenoiser, conditioned, guided, within
from crafts.sampling.network import network_denoiser
from crafts.sampling.powers import SHARE, enlarge_middle
from crafts.sampling.presets import Preset

if TYPE_CHECKING:
    import numpy as np

    from crafts.model.bundle import Bundle

WINDOW = 16
"""Batches whose prompts are encoded together; bounds the memory that text features take."""


def build_scheduler(
    config: Mapping[str, Any], preset: Preset, device: torch.device | str = "cpu"
) -> Any:
    """A fresh diffusers scheduler with its timesteps set; it holds state and serves one call only.

    Args:
        config: the content of a diffusers ``scheduler_config.json``, of whatever scheduler.
        preset: solver and number of steps.
        device: where the timesteps shall lie.

    Raises:
        ConfigError: more steps than the schedule has timesteps.
    """
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    limit = int(config.get("num_train_timesteps", 1000))
    if preset.num_steps > limit:
        raise ConfigError(
            "num_steps",
            came=str(preset.num_steps),
            allowed=f"at most {limit}, the timesteps of this model",
            do="Ask for fewer steps.",
        )
    if preset.solver == "ddim":
        _refuse_uneven(preset.num_steps, limit)
    # latents have no fixed range, so nothing is clipped, whatever the file leaves to a default
    fixed: dict[str, Any] = {"clip_sample": False, "thresholding": False}
    if preset.solver == "ddim":
        scheduler = DDIMScheduler.from_config(dict(config), **fixed)
    else:
        fixed |= {"algorithm_type": "dpmsolver++", "solver_order": 2} | _spacing(config)
        scheduler = DPMSolverMultistepScheduler.from_config(dict(config), **fixed)
    scheduler.set_timesteps(preset.num_steps, device=device)
    return scheduler


def _refuse_uneven(num_steps: int, limit: int) -> None:
    """DDIM of diffusers leaps by whole timesteps: with many steps it would start far too late."""
    leap = limit // num_steps
    first = leap * (num_steps - 1) + 1
    if first >= limit or limit - limit / num_steps - first > 0.05 * limit:
        even = [n for n in range(10, limit // 2 + 1) if limit % n == 0]
        raise ConfigError(
            "num_steps",
            came=f"{num_steps}, with which DDIM begins at timestep {first} of {limit}",
            allowed=f"for example {', '.join(map(str, even[-6:]))}, which divide {limit}",
            do="Choose one of them, or a preset with DPM-Solver++.",
        )


def _spacing(config: Mapping[str, Any]) -> dict[str, Any]:
    """Where DPM-Solver++ puts its steps: evenly in log SNR, as its paper has it.

    Evenly in t, the last step is a leap from t = 50 (20 steps) or 125 (8 steps) to 0 that takes
    fine detail away: where the data's standard deviation is 0.1, the ideal denoiser of a Gaussian
    then gives 39 % and 23 % of it instead of 92 % and 90 %. At zero terminal SNR, log SNR has no
    beginning, so steps stay even in t.
    """
    if config.get("rescale_betas_zero_snr"):
        return {"timestep_spacing": "trailing"}
    return {"timestep_spacing": "linspace", "use_lu_lambdas": True}


def draw_noise(draws: Sequence[Draw], shape: tuple[int, int, int]) -> torch.Tensor:
    """Initial noise [B, C, h, w], float32 on the CPU; seed, k and row of each draw decide it.

    The prompt has no part in it: draws without ``row`` compare prompts on the same noise.

    Args:
        draws: the images of a batch.
        shape: (C, h, w) of the latents.
    """
    return torch.stack(
        [torch.randn(shape, generator=generator_for("noise", *draw.number)) for draw in draws]
    )


@torch.inference_mode()
def sample(
    denoise: Denoise, noise: torch.Tensor, scheduler: Any, *, first: int = 0
) -> torch.Tensor:
    """Integrate from noise to clean latents.

    Args:
        denoise: ``(x_t, t) -> prediction`` of the scheduler's ``prediction_type``.
        noise: [B, C, h, w] standard normal; ``x_t`` of the first step where that is not 0.
        scheduler: of :func:`build_scheduler`, not used before.
        first: number of the step to begin with.

    Returns:
        Latents [B, C, h, w] of the noise's type and device.
    """
    x_t = noise if first else noise * scheduler.init_noise_sigma
    if first and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    for t in scheduler.timesteps[first:]:
        prediction = denoise(scheduler.scale_model_input(x_t, t), t)
        x_t = scheduler.step(prediction, t, x_t, return_dict=False)[0]
    return x_t


def build_denoise(
    denoiser: TextDenoiser,
    features: Sequence[TextFeatures],
    preset: Preset,
    timesteps: torch.Tensor,
    device: torch.device,
) -> Denoise:
    """Bind a batch's text and guidance to a denoiser.

    Args:
        denoiser: of :func:`network_denoiser`.
        features: one an image, with the same number of text tokens.
        preset: guidance scale and interval.
        timesteps: [S] of the sampler, in the order they are taken.
        device: of the latents.
    """
    tokens = torch.stack([item.tokens for item in features]).to(device)
    unconditional = None
    if preset.guidance_scale != 1.0:
        pairs = [item.unconditional for item in features if item.unconditional is not None]
        unconditional = torch.stack(pairs).to(device) if pairs else None
    denoise = guided(denoiser, tokens, unconditional, preset.guidance_scale)
    if preset.interval is None:
        return denoise
    return within(preset.interval, timesteps, denoise, conditioned(denoiser, tokens))


@torch.inference_mode()
def sample_latents(
    denoiser: TextDenoiser,
    features: Sequence[TextFeatures],
    noise: torch.Tensor,
    preset: Preset,
    schedule_config: Mapping[str, Any],
) -> torch.Tensor:
    """Latents of one batch whose members have the same number of text tokens.

    Args:
        denoiser: of :func:`network_denoiser`.
        features: one an image.
        noise: [B, C, h, w] on the denoiser's device.
        preset: solver, steps, guidance scale of this batch.
        schedule_config: as for :func:`build_scheduler`.
    """
    scheduler = build_scheduler(schedule_config, preset, noise.device)
    denoise = build_denoise(denoiser, features, preset, scheduler.timesteps, noise.device)
    return sample(denoise, noise, scheduler)


def decode_pixels(codec: Any, latents: torch.Tensor) -> np.ndarray:
    """Latents [B, C, h, w] -> images [B, H, W, 3] uint8, one at a time to bound memory."""
    if latents.device.type == "cpu":  # convolutions are faster so; the numbers stay
        latents = latents.to(memory_format=torch.channels_last)
        with torch.inference_mode(False):  # weights laid out anew in it could never be trained
            codec.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        images = [codec.decode(latents[i : i + 1]).float().cpu() for i in range(len(latents))]
        pixels = (torch.cat(images) / 2 + 0.5).clamp(0, 1)
        return (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def iter_images(
    bundle: Bundle,
    draws: Sequence[Draw],
    preset: Preset,
    *,
    batch_size: int = 4,
    done: Collection[int] = (),
    full: bool = False,
    conditioners: Mapping[str, Conditioner] | None = None,
) -> Iterator[list[tuple[int, TextFeatures, np.ndarray]]]:
    """Make the images of many draws, batch by batch.

    The batches are a function of ``draws`` alone. One that has any image not yet done is computed
    whole: a resumed run then repeats the very numbers of an undisturbed one.

    Args:
        bundle: the model, on its device.
        draws: what to make; each with its own guidance scale.
        preset: solver and steps.
        batch_size: images a call of the denoiser (twice as many under guidance).
        done: indices of draws that need not be made.
        full: let the network see ``batch_size`` images at each call, the last ones repeated where
            there are fewer; an image then has the same bytes in whatever company.
        conditioners: by kind, of what draws are told; the model's own numbers need none.

    Yields:
        For every batch those not in ``done``: (index, text features, image [H, W, 3] uint8).
    """
    done, span = set(done), WINDOW * batch_size
    known = {**number_conditioners(bundle.conditions), **(conditioners or {})}
    for start in range(0, len(draws), span):
        window = draws[start : start + span]
        if all(start + i in done for i in range(len(window))):
            continue
        features = encode_draws(bundle.text, window)
        made: dict[tuple[Draw, ...], torch.Tensor] = {}
        for group in group_draws(window, features):
            for first in range(0, len(group), batch_size):
                batch = group[first : first + batch_size]
                if all(start + i in done for i in batch):
                    continue
                shown = [*batch, *batch[-1:] * (batch_size - len(batch))] if full else batch
                chosen = [features[i] for i in shown]
                asked = [window[i] for i in shown]
                images = _make(bundle, asked, chosen, preset, conditioners=known, made=made)
                rows = list(zip(shown, chosen, images, strict=True))[: len(batch)]
                yield [(start + i, item, image) for i, item, image in rows if start + i not in done]


def _make(
    bundle: Bundle,
    draws: Sequence[Draw],
    features: Sequence[TextFeatures],
    preset: Preset,
    *,
    conditioners: Mapping[str, Conditioner],
    made: dict[tuple[Draw, ...], torch.Tensor],
) -> Sequence[np.ndarray]:
    """Images [H, W, 3] uint8 of a batch: one guidance scale, conditions and edits of one group.

    Args:
        bundle: the model.
        draws: of the batch.
        features: of their texts.
        preset: solver and steps.
        conditioners: by kind.
        made: latents of batches that were made already; gets those of this one.
    """
    if draws[0].edit is None:
        latents = _latents(bundle, draws, features, preset, conditioners=conditioners, made=made)
        return list(decode_pixels(bundle.codec, latents))
    noise, scheduler, under = _bound(bundle, draws, preset, conditioners)
    before = None
    if draws[0].edit.before is not None:  # of one group, so the same for all
        texts = [replace(draw, prompt=draws[0].edit.before) for draw in draws]
        before = under(encode_draws(bundle.text, texts))
    return _edit(bundle, draws, under(features), before, noise=noise, scheduler=scheduler)


@torch.inference_mode()
def _latents(
    bundle: Bundle,
    draws: Sequence[Draw],
    features: Sequence[TextFeatures],
    preset: Preset,
    *,
    conditioners: Mapping[str, Conditioner],
    made: dict[tuple[Draw, ...], torch.Tensor],
) -> torch.Tensor:
    """Latents [B, C, h, w] of a batch from noise, or from what wider pictures of it show."""
    if tuple(draws) in made:
        return made[tuple(draws)]
    noise, scheduler, under = _bound(bundle, draws, preset, conditioners)
    first, x_t, wider = 0, noise, [draw.wider for draw in draws if draw.wider]
    if wider:
        zooms = [(one.mpp or 1) / (draw.mpp or 1) for one, draw in zip(wider, draws, strict=True)]
        whole = _latents(bundle, wider, features, preset, conditioners=conditioners, made=made)
        x0 = enlarge_middle(bundle.codec, whole, zooms)
        first = first_step(len(scheduler.timesteps), SHARE)
        x_t = scheduler.add_noise(x0, noise, scheduler.timesteps[first : first + 1])
    latents = sample(under(features), x_t if first else noise, scheduler, first=first)
    check_latents(latents, draws)
    made[tuple(draws)] = latents
    return latents


def _bound(
    bundle: Bundle,
    draws: Sequence[Draw],
    preset: Preset,
    conditioners: Mapping[str, Conditioner],
) -> tuple[torch.Tensor, Any, Callable[[Sequence[TextFeatures]], Denoise]]:
    """Noise and solver of a batch, and what makes a denoiser that a sampler calls of texts."""
    side = bundle.native_size // bundle.codec.factor
    device = next(bundle.denoiser.parameters()).device
    noise = draw_noise(draws, (bundle.codec.channels, side, side)).to(device)
    preset = replace(preset, guidance_scale=draws[0].guidance_scale)
    scheduler = build_scheduler(bundle.schedule.config, preset, device)
    bound = bind(conditioners, [draw.conditions for draw in draws], scheduler.timesteps, device)
    denoiser = network_denoiser(bundle.denoiser, bound)

    def under(texts: Sequence[TextFeatures]) -> Denoise:
        return build_denoise(denoiser, texts, preset, scheduler.timesteps, device)

    return noise, scheduler, under


@torch.inference_mode()
def _edit(
    bundle: Bundle,
    draws: Sequence[Draw],
    denoise: Denoise,
    before: Denoise | None,
    *,
    noise: torch.Tensor,
    scheduler: Any,
) -> Sequence[np.ndarray]:
    """Images of a batch that is made from pictures, those in whole; see ``sampling/edits.py``."""
    assert draws[0].edit is not None
    timesteps, schedule = scheduler.timesteps, bundle.schedule
    first = first_step(len(timesteps), draws[0].edit.strength)
    sources = load_sources([draw.edit for draw in draws])
    if not sources:
        assert before is not None
        switched = within((0, first / len(timesteps)), timesteps, before, denoise)
        latents = sample(switched, noise, scheduler)
        check_latents(latents, draws)
        return list(decode_pixels(bundle.codec, latents))
    x0 = encode_sources(bundle.codec, sources, noise.device)
    regions = torch.stack([torch.from_numpy(source.region) for source in sources])
    free = free_latents(regions, bundle.codec.factor).to(noise.device)
    x_t = scheduler.add_noise(x0, noise, timesteps[first : first + 1]) if first else noise
    if before is None:
        kept = keeping(denoise, x0, free, schedule)
        latents = sample(kept, x_t, scheduler, first=first)
        check_latents(latents, draws)
        made = decode_pixels(bundle.codec, latents)
        return [source.paste(one) for source, one in zip(sources, made, strict=True)]
    both = beside(denoise, before, x0, free, schedule)
    own, latents = sample(both, torch.cat([x_t, x_t]), scheduler, first=first).chunk(2)
    check_latents(latents, draws)
    pairs = zip(*(decode_pixels(bundle.codec, one) for one in (latents, own)), strict=True)
    return [source.paste(made, was) for source, (made, was) in zip(sources, pairs, strict=True)]


def check_latents(latents: torch.Tensor, draws: Sequence[Draw]) -> None:
    """Stop at latents that would become a black picture.

    Raises:
        DataError: names the first draw of which they are not finite.
    """
    for draw, finite in zip(draws, latents.isfinite().flatten(1).all(1).tolist(), strict=True):
        if not finite:
            raise DataError(
                f"sampler: prompt {shorten(draw.prompt)}, seed {draw.seed}, image {draw.k}",
                came="latents that are not finite",
                allowed="finite latents",
                do="Check the model, a guidance scale or weight of a control that is too high, or "
                "use float32.",
            )
