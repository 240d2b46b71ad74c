"""What the adapters have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from ..learner import Pass, PrivacySpent, Proposal, Score, Weights


class ModelLearner(ABC):
    """A learner around one live model that is loaded, trained and scored in turn.

    An adapter says how; this class keeps the current weights, and decides votes: approve what does
    not score worse than the current weights by more than ``margin``.

    Args:
        margin: In units of the score; higher scores are better.
        hide_scores: Record no scores, only votes.
    """

    def __init__(self, *, margin: float = 0.0, hide_scores: bool = False) -> None:
        self.margin = margin
        self.hide_scores = hide_scores
        self._current: Weights | None = None
        self._current_score: float | None = None

    @abstractmethod
    def _save(self) -> Weights:
        """The live model's weights."""

    @abstractmethod
    def _load(self, weights: Weights) -> None:
        """Puts weights into the live model. Raises if they are not of this model."""

    @abstractmethod
    def _train(self) -> PrivacySpent | Pass | None:
        """Trains the live model; says what that reveals if it is private, or gives up the turn."""

    @abstractmethod
    def _score(self, test: bool) -> float | None:
        """Scores the live model on the rows for voting or for testing."""

    def propose(self) -> Proposal | Pass:
        """Trains from the current weights and restores them."""
        current = self.current()
        self._load(current)
        try:
            spent = self._train()
            if isinstance(spent, Pass):
                return spent
            return Proposal(self._save(), spent)
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
        finally:
            self._load(current)
        if vote is None or math.isnan(vote):
            return Score(math.nan, approve=False)
        worst = -math.inf if before is None or math.isnan(before) else before - self.margin
        if self.hide_scores:
            return Score(math.nan, approve=vote >= worst)
        return Score(vote, approve=vote >= worst, test=test)

    def accept(self, weights: Weights) -> None:
        """Takes weights as the current ones."""
        self._load(weights)
        self._current, self._current_score = weights, None

    def current(self) -> Weights:
        """The current weights; at first those the model came with."""
        if self._current is None:
            self._current = self._save()
        return self._current
