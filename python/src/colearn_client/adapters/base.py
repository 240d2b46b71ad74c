"""What the adapters have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import arrays
from .._core import Weights
from ..errors import NotFiniteError
from ..learner import SAFETENSORS, Pass, PrivacySegment, PrivateProposal, Proposal, Score, Scored


class ModelLearner(ABC):
    """A learner around one live model that is loaded, trained and scored in turn.

    An adapter says how; this class keeps the current weights, and decides votes: approve what does
    not score worse than the current weights by more than ``margin``, and abstain where the rows for
    voting cannot tell.

    Parameters
    ----------
    margin
        In units of the score; higher scores are better.
    hide_scores
        Record no scores, only votes.
    """

    def __init__(self, *, margin: float = 0.0, hide_scores: bool = False) -> None:
        self.margin = margin
        self.hide_scores = hide_scores
        self._current: Weights | None = None
        self._current_score: float | None = None
        self._measured: dict[bytes, float] = {}

    @abstractmethod
    def _save(self) -> Weights:
        """The live model's weights."""

    @abstractmethod
    def _load(self, weights: Weights) -> None:
        """Puts weights into the live model. Raises if they are not of this model."""

    @abstractmethod
    def _train(self) -> PrivacySegment | Pass | None:
        """Trains the live model; says what that took if it is private, or gives up the turn."""

    @abstractmethod
    def _score(self, test: bool) -> float | None:
        """Scores the live model on the rows for voting or for testing."""

    def _fine_score(self) -> float | None:
        """Scores the live model on the rows for voting as finely as can be told, such as by a loss."""
        return self._score(test=False)

    def _rights(self) -> npt.NDArray[np.bool_] | None:
        """Which rows for testing the live model gets right, where its score is the share of them."""
        return None

    def _can_judge(self) -> bool:
        """Whether the rows for voting can tell good weights from bad ones."""
        return True

    def propose(self) -> Proposal | PrivateProposal | Pass:
        """Trains from the current weights and restores them. Passes if what came out are no numbers."""
        current = self.current()
        self._load(current)
        try:
            took = self._train()
            if isinstance(took, Pass):
                return took
            weights = self._save()
            if not is_finite(self, weights):
                return Pass(reason="not_finite")
            return Proposal(weights) if took is None else PrivateProposal(weights, took)
        finally:
            self._load(current)

    def test(self, weights: Weights) -> Score:
        """Scores weights and restores the current ones."""
        current = self.current()
        if self._current_score is None:
            self._load(current)
            self._current_score = self._score(test=False)
        before = self._current_score
        try:
            self._load(weights)
            vote, test = self._score(test=False), self._score(test=True)
        except NotFiniteError:
            return Score(math.nan, approve=False, reason="not_finite")
        finally:
            self._load(current)
        if vote is None or not self._can_judge():
            vote = math.nan if vote is None or self.hide_scores else vote
            return Score(vote, None, None if self.hide_scores else test, "too_little_data")
        if math.isnan(vote):
            return Score(math.nan, approve=False, reason="not_finite")
        worst = -math.inf if before is None or math.isnan(before) else before - self.margin
        approve = vote >= worst
        if self.hide_scores:
            vote, test = math.nan, None
        return Score(vote, approve, test, None if approve else "worse")

    def tested(self, weights: Weights) -> tuple[float | None, npt.NDArray[np.bool_] | None]:
        """The score of weights on the rows for testing, whatever is recorded of it, and, where that is
        the share of rows that are right, which those are. The current weights are restored."""
        current = self.current()
        try:
            self._load(weights)
            return self._score(test=True), self._rights()
        finally:
            self._load(current)

    def measure(self, scored: Scored) -> float:
        """What decides what can be borne in merged rounds: a loss where there is one, or the score."""
        digest = scored.weights.digest
        if digest not in self._measured:
            current = self.current()
            try:
                self._load(scored.weights)
                fine = self._fine_score()
            finally:
                self._load(current)
            self._measured[digest] = math.nan if fine is None else fine
        return self._measured[digest]

    def prefer(self, guarded: Scored, open: Scored) -> bool:
        """Whether the guarded one of two merges is better: finer, and not worse in score."""
        finer = self.measure(guarded) > self.measure(open)
        return finer and not guarded.score.vote < open.score.vote

    def accept(self, weights: Weights) -> None:
        """Takes weights as the current ones."""
        self._load(weights)
        self._current, self._current_score, self._measured = weights, None, {}

    def current(self) -> Weights:
        """The current weights; at first those the model came with."""
        if self._current is None:
            self._current = self._save()
        return self._current


def can_tell(targets: npt.NDArray[Any], classifier: bool) -> bool:
    """Whether rows with these targets can tell good weights from bad ones. A single class is predicted
    best by whoever knows no other."""
    return len(targets) > 1 and not (classifier and len(np.unique(targets)) == 1)


def is_finite(learner: object, weights: Weights) -> bool:
    """Whether what a learner is about to propose are numbers, as far as their kind shows it."""
    if getattr(learner, "media_type", SAFETENSORS) != SAFETENSORS:
        return True
    try:
        arrays.load(weights)
    except NotFiniteError:
        return False
    return True
