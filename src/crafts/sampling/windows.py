"""A canvas of any height: overlapping windows, averaged at every step, row by row.

At each step of the sampler the predictions of windows of the model's own size are averaged with
weights that fall towards their edges (MultiDiffusion, Bar-Tal et al. 2023), and at each step the
windows lie elsewhere, so that no edge stays where it was (SpotDiffusion, Frolov et al. 2024).

Rows pass through the steps as through a pipe. A step hands a row on as soon as the last window that
reaches it was seen; what is held depends on the width of the canvas and the number of steps, and
not on the height. What comes out is what the sampler makes of the canvas in one piece.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from crafts.conditions.text import TextFeatures
from crafts.core.runtime import generator_for
from crafts.sampling.guidance import TextDenoiser
from crafts.sampling.presets import Preset
from crafts.sampling.sampler import build_denoise, build_scheduler

BAND = 32
"""Latent rows that enter at once; noise is drawn in squares of this edge."""

# of the sequence R2 (Roberts 2018): successive shifts fill the plane evenly
_SHIFT_DOWN, _SHIFT_ACROSS = 0.7548776662466927, 0.5698402909980532

Predict = Callable[[Tensor, int], Tensor]
"""Windows [B, C, n, n] and the number of a prompt -> prediction [B, C, n, n] at one timestep."""

Shares = Callable[[int, int], Mapping[int, Tensor]]
"""Rows from top to bottom -> number of a prompt -> its share [rows, w]; all sum to 1 at each place.

A prompt that has no share in these rows is left out.
"""


@dataclass(frozen=True)
class Grid:
    """Where the windows of one step lie, and how much each counts.

    Attributes:
        edge: of a window.
        rows: first rows of the windows, rising.
        columns: first columns, rising.
        weights: [n, n] of a window; the product of two slopes.
        down: [h] sum of the slopes along the height.
        across: [w] the same along the width.
    """

    edge: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    weights: Tensor
    down: Tensor
    across: Tensor


def build_grid(height: int, width: int, *, edge: int, overlap: int, step: int) -> Grid:
    """The windows of one step on a canvas [h, w].

    Args:
        height: of the canvas, at least ``edge``.
        width: likewise.
        edge: of a window.
        overlap: of neighbours, at least 1 and below ``edge``; half of the windows at the borders
            overlap more.
        step: number of the step, which decides how far the grid is shifted.
    """
    ramp = torch.arange(edge, dtype=torch.float32) + 0.5
    slope = (torch.minimum(ramp, ramp.flip(0)) / overlap).clamp(max=1)
    rows = _starts(height, edge, edge - overlap, step * _SHIFT_DOWN)
    columns = _starts(width, edge, edge - overlap, step * _SHIFT_ACROSS)
    sums = []
    for length, starts in ((height, rows), (width, columns)):
        total = torch.zeros(length)
        for start in starts:
            total[start : start + edge] += slope
        sums.append(total)
    return Grid(edge, rows, columns, slope[:, None] * slope, sums[0], sums[1])


def _starts(length: int, edge: int, stride: int, shift: float) -> tuple[int, ...]:
    """First positions: one at each end, and between them one each ``stride``, shifted."""
    first = int(shift % 1 * stride)
    return tuple(sorted({0, *range(first, length - edge, stride), length - edge}))


def noise_band(number: Sequence[int | str], band: int, shape: tuple[int, int, int]) -> Tensor:
    """Noise [C, r, w] of a band of rows, a function of seed and place.

    A wider or higher canvas has the same noise at the same place.

    Args:
        number: what the noise of the picture depends on.
        band: number of the band, from 0.
        shape: C, rows of the band (at most ``BAND``) and width of the canvas.
    """
    channels, rows, width = shape
    squares = [
        torch.randn(
            (channels, BAND, BAND), generator=generator_for("canvas", *number, band, column)
        )
        for column in range(-(-width // BAND))
    ]
    return torch.cat(squares, dim=2)[:, :rows, :width]


class Step:
    """One step of the sampler on a canvas of which the rows come from above.

    Args:
        index: number of the step.
        grid: its windows.
        scheduler: of :func:`build_scheduler`, never used itself.
        predict: at the timestep of this step.
        shares: of the prompts.
    """

    def __init__(
        self, index: int, grid: Grid, *, scheduler: Any, predict: Predict, shares: Shares
    ) -> None:
        self.index, self.grid, self.scheduler = index, grid, scheduler
        self.predict, self.shares = predict, shares
        self.top, self.seen = 0, 0
        self.rows: Tensor | None = None
        self.total: Tensor | None = None

    @torch.inference_mode()
    def push(self, rows: Tensor) -> Tensor:
        """Take the next rows of this step, and give those of the next one that are ready.

        Args:
            rows: [K, C, r, w]: x_t, and what the solver remembers of them where it does.

        Returns:
            [K, C, r', w]; r' is 0 while windows wait for further rows.
        """
        fresh = torch.zeros_like(rows[0])
        self.rows = rows if self.rows is None else torch.cat([self.rows, rows], dim=2)
        self.total = fresh if self.total is None else torch.cat([self.total, fresh], dim=1)
        bottom = self.top + self.rows.shape[2]
        starts, height = self.grid.rows, len(self.grid.down)
        while self.seen < len(starts) and starts[self.seen] + self.grid.edge <= bottom:
            self._look(starts[self.seen])
            self.seen += 1
        end = starts[self.seen] if self.seen < len(starts) else height
        return self._hand_on(min(end, bottom))

    def _look(self, start: int) -> None:
        """Predict a row of windows."""
        assert self.rows is not None and self.total is not None
        edge, span = self.grid.edge, slice(start - self.top, start - self.top + self.grid.edge)
        x_t, total = self.rows[0, :, span], self.total[:, span]
        for prompt, share in self.shares(start, start + edge).items():
            reached = [x for x in self.grid.columns if bool(share[:, x : x + edge].any())]
            windows = torch.stack([x_t[:, :, x : x + edge] for x in reached])
            for x, found in zip(reached, self.predict(windows, prompt), strict=True):
                weight = (self.grid.weights * share[:, x : x + edge]).to(found.device)
                total[:, :, x : x + edge] += found * weight

    def _hand_on(self, end: int) -> Tensor:
        """Rows up to ``end``, one step further; no window that is still to come reaches them."""
        assert self.rows is not None and self.total is not None
        number = end - self.top
        ready, self.rows = self.rows[:, :, :number], self.rows[:, :, number:].clone()
        total, self.total = self.total[:, :number], self.total[:, number:].clone()
        weight = self.grid.down[self.top : end, None] * self.grid.across
        self.top = end
        if not number:
            return ready
        return advance(self.scheduler, self.index, ready, total / weight.to(total.device))

    def state(self) -> dict[str, Tensor]:
        """All that a killed run needs to go on here."""
        places = torch.tensor([self.top, self.seen])
        if self.rows is None or self.total is None:
            return {"places": places}
        return {"places": places, "rows": self.rows, "total": self.total}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self.top, self.seen = state["places"].tolist()
        self.rows, self.total = state.get("rows"), state.get("total")


def advance(scheduler: Any, index: int, rows: Tensor, prediction: Tensor) -> Tensor:
    """One step of a solver on rows that it brought as far as step ``index``.

    A solver of second order keeps its last estimate of the clean latents. Here that goes along with
    the rows, as another plane, so that rows may be at different steps.

    Args:
        scheduler: of :func:`build_scheduler`; is not changed.
        index: number of the step.
        rows: [K, C, r, w]; x_t, and the estimate where the solver keeps one.
        prediction: [C, r, w].
    """
    solver = copy.copy(scheduler)
    if planes_of(scheduler) > 1:
        solver.set_begin_index(index)
        solver.model_outputs = [None] * (solver.config.solver_order - 1) + [rows[1:2]]
        solver.lower_order_nums = min(index, solver.config.solver_order)
    t = scheduler.timesteps[index]
    x_t = solver.step(prediction[None], t, rows[:1], return_dict=False)[0]
    return torch.cat([x_t, solver.model_outputs[-1]]) if planes_of(scheduler) > 1 else x_t


def planes_of(scheduler: Any) -> int:
    """Planes that go through the steps: x_t, and one more where the solver remembers."""
    return 2 if hasattr(scheduler, "model_outputs") else 1


def build_steps(
    denoiser: TextDenoiser,
    features: Sequence[TextFeatures],
    preset: Preset,
    schedule_config: Mapping[str, Any],
    *,
    grids: Callable[[int], Grid],
    shares: Shares,
    batch_size: int,
) -> list[Step]:
    """The steps of the sampler on a canvas.

    Args:
        denoiser: of :func:`crafts.sampling.network.network_denoiser`.
        features: of the prompts, by their numbers.
        preset: solver, steps and guidance scale.
        schedule_config: as for :func:`build_scheduler`.
        grids: number of a step -> its windows.
        shares: of the prompts.
        batch_size: windows a call of the denoiser.
    """
    scheduler = build_scheduler(schedule_config, preset)

    def predictor(t: Tensor) -> Predict:
        def predict(windows: Tensor, prompt: int) -> Tensor:
            found = []
            for batch in windows.split(batch_size):
                told = [features[prompt]] * len(batch)
                denoise = build_denoise(denoiser, told, preset, scheduler.timesteps, batch.device)
                found.append(denoise(batch, t.to(batch.device)))
            return torch.cat(found)

        return predict

    return [
        Step(index, grids(index), scheduler=scheduler, predict=predictor(t), shares=shares)
        for index, t in enumerate(scheduler.timesteps)
    ]
