"""A canvas in one piece, slowly: every window of every step by itself, in float64 sums."""

import numpy as np
import torch


def starts(length, edge, stride, shift):
    """Windows at both ends, and every ``stride`` between them from ``shift`` on."""
    places = [0]
    place = shift
    while place < length - edge:
        if place > 0:
            places.append(place)
        place += stride
    if length > edge:
        places.append(length - edge)
    return places


def slope(edge, overlap):
    """Weight along one side: rises over the overlap, is 1 in the middle, and falls again."""
    return [min(1.0, (i + 0.5) / overlap, (edge - i - 0.5) / overlap) for i in range(edge)]


def average(predict, x_t, *, edge, overlap, shifts, labels=None):
    """The weighted mean of what is predicted for all windows that reach a place.

    Args:
        predict: window [1, C, n, n] and prompt -> prediction.
        x_t: [C, h, w].
        edge: of a window.
        overlap: of neighbours.
        shifts: first free place of the windows, down and across.
        labels: shares of prompts, [P, h, w]; None is one prompt.
    """
    channels, height, width = x_t.shape
    total = np.zeros((channels, height, width))
    weights = np.zeros((height, width))
    line = np.array(slope(edge, overlap))
    for y in starts(height, edge, edge - overlap, shifts[0]):
        for x in starts(width, edge, edge - overlap, shifts[1]):
            window = x_t[None, :, y : y + edge, x : x + edge]
            place = np.s_[y : y + edge, x : x + edge]
            weight = line[:, None] * line[None, :]
            shares = [np.ones((edge, edge))] if labels is None else [s[place] for s in labels]
            for prompt, share in enumerate(shares):
                if share.any():
                    found = predict(window, prompt)[0].numpy().astype(np.float64)
                    total[:, *place] += found * weight * share
            weights[place] += weight
    return torch.from_numpy(total / weights).to(x_t)
