"""What the learners around libraries for boosting have in common: a proposal adds trees."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from .._core import Weights
from ..errors import ModelError, NotFiniteError
from ..learner import Pass
from ._trees import Trees
from .base import ModelLearner, can_tell

Data = tuple[npt.ArrayLike, npt.ArrayLike]
#: What libraries call the seed.
_SEEDS = ["seed", "random_state", "random_seed"]
#: Trees, the library's format of them, and its model.
Made = tuple[Trees, bytes, Any]
Rows = tuple[npt.NDArray[Any], npt.NDArray[Any]]


class BoosterLearner(ModelLearner):
    """A learner whose model is trees that one library writes in a format of its own.

    Whatever comes from others is read here, and checked; the library loads what is written of that. So
    what travels is what predicts, whatever else the library notes of its training rows.
    """

    booster: Any
    #: What the library writes for where missing values go.
    _codes: Collection[int] = (0, 1)

    def __init__(
        self,
        parameters: dict[str, Any],
        train: Data,
        vote: Data,
        test: Data | None,
        *,
        classifies: bool,
        a_round: int,
        trees: int,
        max_trees: int,
        score: Callable[[Any, Any], float] | None,
        margin: float,
        hide_scores: bool,
    ) -> None:
        super().__init__(margin=margin, hide_scores=hide_scores)
        given = {"train": train, "vote": vote, "test": test}
        self._data: dict[str, Rows] = {
            name: (np.asarray(pair[0]), np.asarray(pair[1]))
            for name, pair in given.items()
            if pair is not None and (name == "train" or np.size(pair[1]))
        }
        self._parameters, self._trainings = parameters, 0
        self._columns = int(self._data["train"][0].shape[1])
        self._classifies, self._a_round = classifies, a_round
        self._trees, self._max_trees = trees, max_trees
        self._score_by = score
        self._written = b""
        self._shared = Trees.none(1)
        self._recent = Recent()

    @abstractmethod
    def _read(self, data: bytes) -> Trees:
        """The trees of the library's format. Raises if they are no such model's."""

    @abstractmethod
    def _write(self, trees: Trees) -> bytes:
        """The library's format, of trees that have been checked."""

    @abstractmethod
    def _build(self, data: bytes) -> Any:
        """The library's model of what was written here."""

    @abstractmethod
    def _grow(self) -> Trees:
        """The shared trees, and those that training adds."""

    @abstractmethod
    def _predict(self, name: str) -> npt.NDArray[Any]:
        """What the live model makes of the rows of that name."""

    def _seeded(self) -> dict[str, Any]:
        """The parameters, with another seed for each training: trees of drawn rows or columns that were
        rejected are followed by others."""
        name = next((it for it in _SEEDS if it in self._parameters), _SEEDS[0])
        return {**self._parameters, name: int(self._parameters.get(name) or 0) + self._trainings}

    def _made(self, trees: Trees) -> Made:
        """What becomes the live model, of trees that are checked here."""
        trees.check(features=self._columns, outputs=1, most=self._max_trees, codes=self._codes)
        if len(trees) % self._a_round:
            raise ModelError(f"{len(trees)} trees are no rounds of {self._a_round}")
        written = self._write(trees)
        return trees, written, self._build(written)

    def _show(self, made: Made) -> None:
        self._shared, self._written, self.booster = made

    def _save(self) -> Weights:
        return Weights(self._written)

    def _load(self, weights: Weights) -> None:
        self._show(self._recent.get(weights, self._made_of))

    def _made_of(self, weights: Weights) -> Made:
        return self._made(self._read(np.asarray(weights).tobytes()))

    def _train(self) -> Pass | None:
        if not can_tell(self._data["train"][1], self._classifies):
            return Pass(reason="too_little_data")
        before = len(self._shared)
        if is_full(before, self._trees * self._a_round, self._max_trees):
            return Pass()
        try:
            grown = self._grow()
            self._trainings += 1
            self._show(self._made(grown))
        except NotFiniteError:
            return Pass(reason="not_finite")
        return Pass(reason="too_little_data") if len(self._shared) == before else None

    def _can_judge(self) -> bool:
        return "vote" in self._data and can_tell(self._data["vote"][1], self._classifies)

    def _rights(self) -> npt.NDArray[np.bool_] | None:
        if not self._classifies or self._score_by is not None or "test" not in self._data:
            return None
        return np.asarray(_best(self._predict("test")) == self._data["test"][1])

    def _score(self, test: bool) -> float | None:
        name = "test" if test else "vote"
        if name not in self._data:
            return None
        targets, predictions = self._data[name][1], self._predict(name)
        if self._score_by is not None:
            return float(self._score_by(targets, predictions))
        if self._classifies:
            return float(np.mean(_best(predictions) == targets))
        return -float(np.mean((targets - predictions) ** 2))


class Recent:
    """What was made of the last two weights: a vote loads what is proposed, and then again what is
    current."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Any] = {}

    def get(self, weights: Weights, make: Callable[[Weights], Any]) -> Any:
        """What was made of weights, or is now."""
        digest = weights.digest
        made = self._kept.pop(digest, None) or make(weights)
        self._kept = dict([*self._kept.items()][-1:]) | {digest: made}
        return made


def is_full(trees: int, more: int, most: int) -> bool:
    """Whether a model that has so many trees has no room for more, of which its user is told."""
    full = trees + more > most
    if full:
        warnings.warn(
            f"the model has {trees} trees, and with {more} more it had more than max_trees={most}: "
            "nothing is proposed",
            stacklevel=2,
        )
    return full


def _best(predictions: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The class of each row: of probabilities for each, or of the second."""
    return predictions.argmax(axis=1) if predictions.ndim == 2 else predictions > 0.5
