"""Accounting for differential privacy: what steps of DP-SGD reveal, by the accountant that learners
state by and auditors recompute with."""

from __future__ import annotations

from collections.abc import Iterable

from . import _core
from .learner import PrivacySegment

__all__ = ["epsilon", "noise_multiplier"]


def epsilon(segments: PrivacySegment | Iterable[PrivacySegment], delta: float = 1e-5) -> float:
    """The ε that some steps have together, an upper bound.

    Parameters
    ----------
    segments
        The steps; batches are drawn by Poisson sampling.
    delta
        The δ that ε is for.
    """
    listed = [segments] if isinstance(segments, PrivacySegment) else segments
    return _core.epsilon([(it.noise_multiplier, it.sampling_rate, it.steps) for it in listed], delta)


def noise_multiplier(epsilon: float, sampling_rate: float, steps: int, delta: float = 1e-5) -> float:
    """The least noise that keeps some steps within an ε.

    Parameters
    ----------
    epsilon
        The ε to stay within.
    sampling_rate
        The probability of each example to be in a batch.
    steps
        How many steps.
    delta
        The δ that ε is for.
    """
    return _core.noise_multiplier(epsilon, delta, sampling_rate, steps)
