"""Scores by name, as ``colearn learner --metric`` has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

#: What adapters take as ``score=``. The first three are for classes, ``r2`` is for numbers.
Metric = Literal["accuracy", "balanced_accuracy", "f1", "r2"]


def accuracy(right: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """The share of rows whose class is right."""
    first, second = _same(right, predicted)
    return float((first == second).mean()) if len(first) else float("nan")


def balanced_accuracy(right: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """The mean over the classes present of the share of their rows that is right."""
    first, second = _same(right, predicted)
    return _mean([float((second[first == it] == it).mean()) for it in np.unique(first)])


def f1(right: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """The mean of the classes' F1 (macro), over those that occur or are predicted."""
    first, second = _same(right, predicted)
    scores = []
    for it in np.union1d(first, second):
        hits = int(((first == it) & (second == it)).sum())
        scores.append(2 * hits / (int((first == it).sum()) + int((second == it).sum())))
    return _mean(scores)


def r2(right: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """The share of the variance that is explained; NaN where nothing varies."""
    first, second = _same(right, predicted)
    first, second = first.astype(float), second.astype(float)
    varies = float(((first - first.mean()) ** 2).sum()) if len(first) else 0.0
    return 1 - float(((first - second) ** 2).sum()) / varies if varies > 0 else float("nan")


_ALL: dict[str, Callable[[npt.ArrayLike, npt.ArrayLike], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "r2": r2,
}


def named(name: str, classifier: bool) -> Callable[[npt.ArrayLike, npt.ArrayLike], float]:
    """The function of a name. Higher is better.

    Raises
    ------
    ValueError
        If there is none, or it is not for such a model.
    """
    suitable = [it for it in _ALL if (it != "r2") == classifier]
    if name not in suitable:
        kind = "a class" if classifier else "a number"
        raise ValueError(f"a model that predicts {kind} is scored by one of {suitable}, not {name!r}")
    return _ALL[name]


def _same(right: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    first, second = np.asarray(right), np.asarray(predicted)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"one prediction for each row, not {second.shape} for {first.shape}")
    return first, second


def _mean(scores: list[float]) -> float:
    return sum(scores) / len(scores) if scores else float("nan")
