"""How alike the samples of a batch are: the matrices that the CRAFTS losses compare.

CRAFTS (arXiv 2512.13164, mechanism 1) compares a text similarity matrix M_T with an image latent
similarity matrix M_Z. The paper does not say from which tensors; here M_Z is made from the estimate
of the clean latents at the training timestep, which the denoiser's gradient reaches.

All is computed in float32 at least, also under autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor

from crafts.core.errors import ConfigError

POOLS = ("flatten", "moments", "grid")
NOISE_KINDS = ("none", "alpha", "cap", "floor")
SAME_PROMPT = 1 - 1e-5  # cosine of two text features from which on they are one prompt


def relation_matrix(
    features: Tensor, *, centre: bool = False, memory: Tensor | None = None
) -> Tensor:
    """Cosine of each pair of samples: M of CRAFTS (arXiv 2512.13164).

    Raw cosines of captions of one field are all high, those of latents depend on the mean colour.
    With ``centre`` the mean over the batch is subtracted first (Pearson over the batch), so that
    only differences within the batch are compared. Two samples alone have a centred relation of -1.

    A sample without a direction (all zeros, or equal to the mean) has relation 0 to all and gets
    no gradient.

    Args:
        features: [B, D].
        centre: subtract the mean over features and memory.
        memory: [Q, D], detached features of earlier samples, see :mod:`crafts.losses.queue`.

    Returns:
        [B, B], or [B, B + Q] with memory, in [-1, 1], float32 at least. The gradient reaches
        ``features`` only.

    Raises:
        ConfigError: ``features`` is no matrix or ``memory`` has another width.
    """
    if features.dim() != 2 or (
        memory is not None and memory.shape != (len(memory), features.shape[1])
    ):
        came = f"features {tuple(features.shape)}"
        raise ConfigError(
            "relation_matrix: shapes",
            came=came if memory is None else f"{came}, memory {tuple(memory.shape)}",
            allowed="features [B, D] and memory [Q, D]",
            do="Pool each sample to one row, see pool_latents.",
        )
    with torch.autocast(features.device.type, enabled=False):
        rows = at_least_float32(features)
        if memory is not None:
            rows = torch.cat([rows, memory.detach().to(rows)])
        directions = _directions(rows, centre)
        return directions[: len(features)] @ directions.T


def _directions(rows: Tensor, centre: bool) -> Tensor:
    """Rows of length 1; a row without a direction stays 0, which keeps its gradient finite."""
    noise = 0.0  # length up to which a row is nothing but rounding
    if centre:
        longest = float(torch.linalg.vector_norm(rows.detach(), dim=1).max()) if len(rows) else 0.0
        noise = 8 * torch.finfo(rows.dtype).eps * longest
        rows = rows - rows.mean(0)
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    found = length > noise
    return torch.where(found, rows / torch.where(found, length, 1.0), 0.0)


def pool_latents(x0: Tensor, kind: str, *, grid: int = 4) -> Tensor:
    """One row a sample from latents or feature maps [B, C, h, w].

    Args:
        x0: estimate of the clean latents, or feature maps of the denoiser.
        kind: ``flatten`` (all values, [B, C h w]), ``moments`` (mean and standard deviation of each
            channel over the places, [B, 2 C]) or ``grid`` (mean over each of k x k cells,
            [B, C k k]).
        grid: k; must divide h and w.

    Returns:
        [B, D], float32 at least.

    Raises:
        ConfigError: an unknown kind, no four dimensions, or cells that do not fit.
    """
    if x0.dim() != 4 or kind not in POOLS:
        raise ConfigError(
            "relations: pool",
            came=f"{kind!r} of {tuple(x0.shape)}",
            allowed=f"one of {', '.join(POOLS)}, of [B, C, h, w]",
            do="Correct the kind of pooling.",
        )
    x0 = at_least_float32(x0)
    if kind == "flatten":
        return x0.flatten(1)
    if kind == "moments":
        return torch.cat([x0.mean((2, 3)), x0.std((2, 3), correction=0)], dim=1)
    batch, channels, height, width = x0.shape
    if grid < 1 or height % grid or width % grid:
        raise ConfigError(
            "relations: grid",
            came=f"{grid} x {grid} cells of {height} x {width} places",
            allowed="a number that divides both edges",
            do="Choose another grid, or another crop of the latents.",
        )
    cells = x0.reshape(batch, channels, grid, height // grid, grid, width // grid)
    return cells.mean((3, 5)).flatten(1)


def noise_weights(
    t: Tensor, alphas_cumprod: Tensor, kind: str, *, max_timestep: int = 500
) -> Tensor:
    """Weight [B] of each sample by the noise of its timestep.

    An estimate of the clean latents carries noise amplified by ``sqrt((1 - a_t) / a_t)``: 0.3 at
    t = 100 and 14.6 at t = 999 of the schedule of SD-1.5. Multiplied for pairs by
    :func:`noise_pair_weights`.

    Args:
        t: [B], timesteps.
        alphas_cumprod: [T], a_t of the schedule.
        kind: ``none`` (1), ``alpha`` (``sqrt(a_t)``), ``cap`` (1 up to ``max_timestep``, else 0) or
            ``floor`` (1 above it, else 0).
        max_timestep: the last timestep that counts under ``cap``, and does not under ``floor``.

    Returns:
        [B], in [0, 1], float32 at least, without gradient.

    Raises:
        ConfigError: an unknown kind.
    """
    alphas = at_least_float32(alphas_cumprod.detach().to(t.device))[t]
    if kind == "none":
        return torch.ones_like(alphas)
    if kind == "alpha":
        return alphas.sqrt()
    if kind == "cap":
        return (t <= max_timestep).to(alphas)
    if kind == "floor":
        return (t > max_timestep).to(alphas)
    raise ConfigError(
        "relations: noise",
        came=repr(kind),
        allowed=f"one of {', '.join(NOISE_KINDS)}",
        do="Correct the kind of weights.",
    )


def noise_pair_weights(weights: Tensor, *, memory: Tensor | None = None) -> Tensor:
    """Weights of pairs ``w_i w_j`` from weights of samples; for ``alpha`` ``sqrt(a_i a_j)``.

    Args:
        weights: [B] of :func:`noise_weights`.
        memory: [Q], those of earlier samples.

    Returns:
        [B, B], or [B, B + Q].
    """
    columns = weights if memory is None else torch.cat([weights, memory.to(weights)])
    return torch.outer(weights, columns).detach()


def effective_pairs(weights: Tensor) -> Tensor:
    """How many equally weighted pairs of different samples would say as much (Kish 1965).

    ``(sum w)^2 / sum w^2`` over unordered pairs; B (B - 1) / 2 where all weights are equal.

    Args:
        weights: [B, B] or [B, B + Q], >= 0, the earlier samples last.

    Returns:
        [], 0 where no pair counts.
    """
    pairs = unordered_pairs(weights)
    total, squares = pairs.sum(), pairs.square().sum()
    return torch.where(squares > 0, total.square() / squares.clamp_min(1e-30), 0.0)


def weight_spread(weights: Tensor) -> Tensor:
    """Standard deviation of the weights over unordered pairs that count, as a share of their mean.

    0 says that adaptive weights adapt nothing.

    Args:
        weights: [B, B] or [B, B + Q], >= 0, the earlier samples last.
    """
    pairs = unordered_pairs(weights)
    pairs = pairs[pairs > 0]
    if len(pairs) == 0:
        return pairs.new_zeros(())
    return pairs.std(correction=0) / pairs.mean()


def different_prompts(text_features: Tensor) -> Tensor:
    """Which pairs have different prompts, [B, B] booleans.

    Args:
        text_features: [B, D], pooled features of the prompts; equal prompts have equal features up
            to rounding.
    """
    return relation_matrix(text_features.detach()) < SAME_PROMPT


def likeness(
    features: Tensor,
    reference: Tensor,
    different: Tensor,
    *,
    pair_weights: Tensor | None = None,
) -> Tensor:
    """How much more alike samples of different prompts are than the real ones: a collapse measure.

    ``1 - sum w |h_i - h_j|^2 / sum w |r_i - r_j|^2`` over unordered pairs of different prompts: 0
    where the estimates ``h`` differ as much as the real latents ``r`` of the same samples, 1 where
    all estimates are one image. A cosine centred over the batch cannot show this: its mean over
    pairs is -1 / (B - 1), collapse or not.

    Estimates from much noise shrink towards their mean without any collapse. So weigh pairs by
    noise, and compare with the value at the start of the run, not with 0.

    Args:
        features: [B, D], pooled estimates.
        reference: [B, D], the clean latents of the same samples, pooled alike.
        different: [B, B], see :func:`different_prompts`.
        pair_weights: [B, B], see :func:`noise_pair_weights`.

    Returns:
        [] at most 1, without gradient; nan where no such pair is there or the real ones are equal.

    Raises:
        ConfigError: the shapes do not fit.
    """
    number = len(features)
    if features.shape != reference.shape or different.shape != (number, number):
        raise ConfigError(
            "likeness: shapes",
            came=f"{tuple(features.shape)}, {tuple(reference.shape)}, {tuple(different.shape)}",
            allowed="[B, D] twice and [B, B]",
            do="Pass estimates and clean latents of the same samples.",
        )
    weights = different.to(at_least_float32(features).dtype)
    if pair_weights is not None:
        weights = weights * pair_weights.to(weights)
    with torch.autocast(features.device.type, enabled=False):
        found, real = (
            (unordered_pairs(weights) * unordered_pairs(_squared_distances(rows))).sum()
            for rows in (features, reference)
        )
    return 1 - found / real


def _squared_distances(rows: Tensor) -> Tensor:
    """[B, B]; from centred rows, so that a large common part costs no digits."""
    rows = at_least_float32(rows.detach())
    rows = rows - rows.mean(0)
    squares = rows.square().sum(1)
    return (squares[:, None] + squares[None, :] - 2 * rows @ rows.T).clamp_min(0)


def unordered_pairs(matrix: Tensor) -> Tensor:
    """Entries of a [B, B + Q] matrix, each pair of different samples once."""
    height, width = matrix.shape
    rows, columns = torch.triu_indices(height, width, offset=1, device=matrix.device)
    return matrix[rows, columns]


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
