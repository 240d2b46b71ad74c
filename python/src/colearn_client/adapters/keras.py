"""Keras models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import arrays
from .._core import Weights
from .base import ModelLearner


class KerasLearner(ModelLearner):
    """A learner around a compiled ``keras.Model``.

    Parameters
    ----------
    model
        The model, compiled with a loss and, for the default score, with ``accuracy``.
    train
        Whatever ``model.fit`` takes, such as ``(x, y)``.
    vote
        Whatever ``model.evaluate`` takes, to vote on.
    test
        The same, deciding nothing.
    epochs
        Passes over ``train`` for a proposal.
    batch_size
        Rows in a mini-batch.
    score
        ``score(model, data)``, higher is better; by default accuracy, or the negative loss of
        a model without it.
    margin
        Approve what is not worse than now by more than this.
    hide_scores
        Record no scores.
    """

    def __init__(
        self,
        model: Any,
        train: tuple[Any, Any],
        vote: tuple[Any, Any],
        test: tuple[Any, Any] | None = None,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        score: Callable[[Any, Any], float] | None = None,
        margin: float = 0.0,
        hide_scores: bool = False,
    ) -> None:
        super().__init__(margin=margin, hide_scores=hide_scores)
        self.model = model
        self._train_data, self._vote, self._test = train, vote, test
        self._epochs, self._batch_size = epochs, batch_size
        self._score_by = score or self._usual_score

    def _save(self) -> Weights:
        # The order of a model's weights is part of its architecture.
        named = {f"{at:05}": array for at, array in enumerate(self.model.get_weights())}
        estimated = [not weight.trainable for weight in self.model.weights]
        statistics = [
            name
            for (name, array), is_estimated in zip(named.items(), estimated, strict=True)
            if is_estimated and array.dtype.kind == "f"
        ]
        return arrays.save(named, statistics=statistics)

    def _load(self, weights: Weights) -> None:
        loaded = arrays.load(weights)
        own = self.model.get_weights()
        arrays.check_like(loaded, {f"{at:05}": array for at, array in enumerate(own)})
        self.model.set_weights([loaded[name] for name in sorted(loaded)])

    def _train(self) -> None:
        x, y = self._train_data
        self.model.fit(x, y, epochs=self._epochs, batch_size=self._batch_size, verbose=0)

    def _score(self, test: bool) -> float | None:
        data = self._test if test else self._vote
        return None if data is None else float(self._score_by(self.model, data))

    def _fine_score(self) -> float | None:
        report = self.model.evaluate(*self._vote, verbose=0, return_dict=True)
        return -float(report["loss"])

    @staticmethod
    def _usual_score(model: Any, data: tuple[Any, Any]) -> float:
        report = model.evaluate(*data, verbose=0, return_dict=True)
        named = [value for name, value in report.items() if "accuracy" in name]
        return float(named[0] if named else -report["loss"])
