"""A learner beside a model of its own: what its data is worth alone, and together with the others'."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ._core import Weights
from .adapters.base import ModelLearner
from .learner import Pass, PrivateProposal, Proposal, Score, Scored

_Z = 1.959963985
_CONFIDENCE = 0.95


class BesideAlone:
    """Takes part as ``learner`` does, and trains ``alone`` on the same site's data besides, asking
    nobody. After each round that changes the shared model both are scored by ``learner`` on its test
    rows, and a line of JSON is added to a file. Nothing of it leaves the machine.

    ``alone`` keeps those of its trainings that it would approve of itself, which is the rule that the
    shared model is under. Make it with the same settings and the same rows, but an untrained model, and
    without ``privacy=``: what does not leave needs no noise. After a restart it begins anew.

    >>> run(BesideAlone(learner, alone, "alone.jsonl"), node=..., experiment=..., key=...)

    Parameters
    ----------
    learner
        An adapter, with test rows.
    alone
        Another of the same kind, with an object of its own for the model.
    path
        The file, which ``colearn model compare`` reads as well. It is made for its user only.
    effort
        ``"each"``: train once for each model that the experiment accepts, as often as the shared one;
        ``"own"``: once for each training of this learner's for the experiment.
    tell
        Called with each line.
    """

    def __init__(
        self,
        learner: ModelLearner,
        alone: ModelLearner,
        path: str | os.PathLike[str],
        *,
        effort: Literal["each", "own"] = "each",
        tell: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        if effort not in ("each", "own"):
            raise ValueError(f"effort is 'each' or 'own', not {effort!r}")
        self.learner, self.alone = learner, alone
        self.path = Path(path)
        self._effort, self._tell = effort, tell
        self._seen = learner.current().digest
        self._trainings = self._models = 0

    def __getattr__(self, name: str) -> Any:
        # What a learner may have and need not: privacy, media_type, measure, prefer. A copy asks before
        # it has one.
        if name == "learner":
            raise AttributeError(name)
        return getattr(self.learner, name)

    def propose(self) -> Proposal | PrivateProposal | Pass:
        """What the learner proposes."""
        proposed = self.learner.propose()
        if self._effort == "own" and not isinstance(proposed, Pass):
            self._train()
        return proposed

    def test(self, weights: Weights) -> Score:
        """What the learner makes of weights."""
        return self.learner.test(weights)

    def measure(self, scored: Scored) -> float:
        """What the learner measures."""
        return self.learner.measure(scored)

    def prefer(self, guarded: Scored, open: Scored) -> bool:
        """What the learner prefers."""
        return self.learner.prefer(guarded, open)

    def current(self) -> Weights:
        """The shared model."""
        return self.learner.current()

    def accept(self, weights: Weights) -> None:
        """Takes the shared model, and compares."""
        self.learner.accept(weights)
        if weights.digest == self._seen:
            return
        self._seen = weights.digest
        self._models += 1
        try:
            self._look(weights)
        except Exception as error:
            # What goes wrong here must not keep the learner from taking part.
            warnings.warn(f"alone against together is not recorded: {error}", stacklevel=2)

    def _look(self, weights: Weights) -> None:
        if self._effort == "each":
            self._train()
        line = self._compare(weights)
        created = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(created, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._tell is not None:
            self._tell(line)

    def _train(self) -> None:
        proposed = self.alone.propose()
        if isinstance(proposed, Pass):
            return
        self._trainings += 1
        # Where nobody can judge, what was trained last is what there is.
        if self.alone.test(proposed.weights).approve is not False:
            self.alone.accept(proposed.weights)

    def _compare(self, shared: Weights) -> dict[str, Any]:
        own = self.alone.current()
        alone, first = self.learner.tested(own)
        together, second = self.learner.tested(shared)
        line: dict[str, Any] = {
            "round": self._models,
            "model": shared.digest.hex(),
            "trainings": self._trainings,
            "metric": "score",
            "rows": 0,
            "alone": _finite(alone),
            "together": _finite(together),
            "difference": None,
            "low": None,
            "high": None,
            "confidence": _CONFIDENCE,
            "only_alone": None,
            "only_together": None,
            "p_value": None,
        }
        if alone is not None and together is not None:
            line["difference"] = _finite(together - alone)
        if first is not None and second is not None:
            line |= paired(first, second)
        return line


def paired(alone: npt.ArrayLike, together: npt.ArrayLike) -> dict[str, Any]:
    """Which rows each of two models gets right, compared row by row: the difference of their accuracies
    with Bonett and Price's interval (2012) at 95 %, and McNemar's exact test.

    >>> told = paired([True] * 5 + [False] * 15, [False] * 5 + [True] * 15)
    >>> told["only_alone"], told["only_together"], round(told["p_value"], 4)
    (5, 15, 0.0414)
    """
    first, second = np.asarray(alone, bool), np.asarray(together, bool)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"both are of the same rows, not of {first.shape} and {second.shape}")
    rows = len(first)
    only = (int((first & ~second).sum()), int((second & ~first).sum()))
    shares = [(count + 1) / (rows + 2) for count in only]
    middle = shares[1] - shares[0]
    half = _Z * math.sqrt((sum(shares) - middle**2) / (rows + 2))
    return {
        "metric": "accuracy",
        "rows": rows,
        "alone": float(first.mean()) if rows else None,
        "together": float(second.mean()) if rows else None,
        "difference": (only[1] - only[0]) / rows if rows else None,
        "low": max(middle - half, -1.0),
        "high": min(middle + half, 1.0),
        "only_alone": only[0],
        "only_together": only[1],
        "p_value": _mcnemar(*only),
    }


def _mcnemar(one: int, other: int) -> float:
    """How likely such a difference, either way, would be if both were as good."""
    total, most = one + other, max(one, other)
    # In whole numbers: nothing is rounded before the end. Each term is made of the one before.
    term = tail = math.comb(total, most)
    for count in range(most, total):
        term = term * (total - count) // (count + 1)
        tail += term
    return min(1.0, float(2 * tail / 2**total))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
