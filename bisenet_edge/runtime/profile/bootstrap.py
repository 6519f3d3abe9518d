"""How well a median is known, from its own samples. Letters: S samples of one case, in the order taken."""

from __future__ import annotations

import numpy as np

RESAMPLES = 2000


def resampled_medians(times_ms: np.ndarray, burst: int, seed: int = 0) -> np.ndarray:
    """Medians of bootstrap resamples, float64 [RESAMPLES].

    Whole bursts are resampled: samples of one burst resemble each other, and single samples would give an
    interval that is too narrow. One seed draws the same bursts of every case: cases that took turns in one
    run stay paired, since a machine that was slow in one round was slow for all.

    Args:
        times_ms: float64 [S]; S is a multiple of `burst`.
        burst: samples taken of one case before the next one's turn.
        seed: of the draw.
    """
    rounds = len(times_ms) // burst
    drawn = np.random.default_rng(seed).integers(0, rounds, (RESAMPLES, rounds))
    resamples_ms = times_ms.reshape(rounds, burst)[drawn].reshape(RESAMPLES, -1)
    return np.asarray(np.median(resamples_ms, axis=1))
