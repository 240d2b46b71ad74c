"""XGBoost boosters: a proposal adds trees to the shared ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .._core import Weights
from ..errors import ModelError
from .base import ModelLearner

UBJSON = "application/x-xgboost-ubj"


class XGBoostLearner(ModelLearner):
    """A learner around an ``xgboost.Booster``. Its weights are XGBoost's own UBJSON, which holds
    numbers only; the experiment's media type is ``application/x-xgboost-ubj``.

    Parameters
    ----------
    parameters
        XGBoost's parameters, the same for all learners, with an ``objective``.
    train
        Features ``[rows, columns]`` and targets ``[rows]`` to train on.
    vote
        The same, to vote on.
    test
        The same, deciding nothing.
    trees
        Boosting rounds of one proposal.
    score
        ``score(targets, predictions)``, higher is better; by default accuracy, or the
        negative squared error of an objective ``reg:...``.
    margin
        Approve what is not worse than now by more than this.
    hide_scores
        Record no scores.
    """

    media_type = UBJSON

    def __init__(
        self,
        parameters: dict[str, Any],
        train: tuple[npt.ArrayLike, npt.ArrayLike],
        vote: tuple[npt.ArrayLike, npt.ArrayLike],
        test: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        *,
        trees: int = 5,
        score: Callable[[Any, Any], float] | None = None,
        margin: float = 0.0,
        hide_scores: bool = False,
    ) -> None:
        import xgboost

        super().__init__(margin=margin, hide_scores=hide_scores)
        self._xgboost = xgboost
        self._trees = trees
        self._columns = int(np.asarray(train[0]).shape[1])

        def matrix(pair: tuple[npt.ArrayLike, npt.ArrayLike]) -> Any:
            return xgboost.DMatrix(np.asarray(pair[0]), label=np.asarray(pair[1]))

        self._train_data, self._vote = matrix(train), matrix(vote)
        self._test = matrix(test) if test is not None else None
        regression = str(parameters.get("objective", "")).startswith("reg:")
        self._score_by = score or (_negative_error if regression else _accuracy)
        # No trees yet, and nothing of this learner's data: the same for everybody.
        empty = xgboost.DMatrix(np.zeros((2, self._columns)), label=np.array([0, 1]))
        self._parameters = {"base_score": 0.5, **parameters}
        self.booster = xgboost.train(self._parameters, empty, num_boost_round=0)

    def _save(self) -> Weights:
        return Weights(self.booster.save_raw("ubj"))

    def _load(self, weights: Weights) -> None:
        booster = self._xgboost.Booster()
        try:
            booster.load_model(bytearray(np.asarray(weights).data))
        except self._xgboost.core.XGBoostError as error:
            raise ModelError(f"the weights are not an XGBoost model: {error}") from error
        if booster.num_features() != self._columns:
            raise ModelError(
                f"the model has {booster.num_features()} features, the data {self._columns}"
            )
        booster.set_param(self._parameters)
        self.booster = booster

    def _train(self) -> None:
        self.booster = self._xgboost.train(
            self._parameters,
            self._train_data,
            num_boost_round=self._trees,
            xgb_model=self.booster,
        )

    def _score(self, test: bool) -> float | None:
        data = self._test if test else self._vote
        if data is None:
            return None
        return float(self._score_by(data.get_label(), self.booster.predict(data)))


def _accuracy(targets: Any, predictions: Any) -> float:
    best = predictions.argmax(axis=1) if predictions.ndim == 2 else predictions > 0.5
    return float(np.mean(best == targets))


def _negative_error(targets: Any, predictions: Any) -> float:
    return -float(np.mean((targets - predictions) ** 2))
