"""scikit-learn estimators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import arrays
from .._core import Weights
from ..errors import ModelError
from ..learner import Pass
from ..metrics import Metric, named
from .base import ModelLearner, can_tell

Data = tuple[npt.ArrayLike, npt.ArrayLike]


class SklearnLearner(ModelLearner):
    """A learner around an estimator whose parameters are arrays: linear models and MLPs, with
    ``partial_fit`` or ``warm_start``. Forests and gradient boosting are for :class:`ForestLearner`.

    Parameters
    ----------
    estimator
        Such as ``SGDClassifier()`` or ``MLPClassifier(warm_start=True)``.
    train
        Features ``[rows, columns]`` and targets ``[rows]`` to train on.
    vote
        The same, to vote on.
    test
        The same, deciding nothing.
    classes
        All classes, the same for all learners; by default those in ``train``.
    epochs
        How often ``partial_fit`` is called for a proposal.
    score
        ``score(estimator, X, y)``, higher is better, or "accuracy", "balanced_accuracy", "f1"
        or, for numbers, "r2"; by default the estimator's own.
    margin
        Approve what is not worse than now by more than this.
    hide_scores
        Record no scores.
    """

    def __init__(
        self,
        estimator: Any,
        train: Data,
        vote: Data,
        test: Data | None = None,
        *,
        classes: npt.ArrayLike | None = None,
        epochs: int = 5,
        score: Callable[[Any, Any, Any], float] | Metric | None = None,
        margin: float = 0.0,
        hide_scores: bool = False,
    ) -> None:
        super().__init__(margin=margin, hide_scores=hide_scores)
        self.estimator = estimator
        self._data = {
            name: (np.asarray(pair[0]), np.asarray(pair[1]))
            for name, pair in {"train": train, "vote": vote, "test": test}.items()
            if pair is not None
        }
        is_classifier = (
            getattr(estimator, "_estimator_type", None) == "classifier"
            or hasattr(estimator, "predict_proba")
            or hasattr(estimator, "decision_function")
        )
        self._classes = None
        if is_classifier:
            own = self._data["train"][1] if classes is None else classes
            self._classes = np.unique(np.asarray(own))
            if unknown := np.setdiff1d(self._data["train"][1], self._classes)[:5].tolist():
                raise ModelError(f"there are rows of {unknown}, which are none of the classes")
        self._epochs = epochs
        self._by_accuracy = is_classifier and score in (None, "accuracy")
        self._score_by: Callable[[Any, Any, Any], float] = lambda model, x, y: float(model.score(x, y))
        if isinstance(score, str):
            metric = named(score, is_classifier)
            self._score_by = lambda model, x, y: metric(y, model.predict(x))
        elif score is not None:
            self._score_by = score
        self._initialise()

    def _initialise(self) -> None:
        """Gives the estimator its arrays, whatever rows this learner has: the same for everybody."""
        x, y = self._data["train"]
        name = type(self.estimator).__name__
        if getattr(self.estimator, "average", False):
            # Which it keeps beside the arrays that are shared.
            raise ModelError(f"{name} with average=True trains from weights of its own; leave it out")
        known = np.unique(y)
        if (
            self._classes is not None
            and not hasattr(self.estimator, "partial_fit")
            and 0 < len(known) < len(self._classes)
        ):
            raise ModelError(
                f"{name} forgets the classes that its rows have not, and this learner has only "
                f"{known[:5].tolist()}; take one with partial_fit, such as SGDClassifier"
            )
        if not hasattr(self.estimator, "coef_") and not hasattr(self.estimator, "coefs_"):
            if self._classes is not None:
                # One made-up row of each class, and not in the type of these rows' targets, which may
                # be too short for the others.
                self._fit(np.zeros((len(self._classes), x.shape[1])), self._classes)
            else:
                self._fit(np.zeros((2, x.shape[1])), np.zeros(2, y.dtype))
        if not self._names():
            raise ModelError(
                f"{name} keeps no arrays coef_ or coefs_, and a pickle can "
                "execute code; forests and boosted trees are for ForestLearner, XGBoostLearner and "
                "LightGBMLearner"
            )

    def _fit(self, x: Any, y: Any) -> None:
        if hasattr(self.estimator, "partial_fit"):
            if self._classes is not None and not hasattr(self.estimator, "classes_"):
                self.estimator.partial_fit(x, y, classes=self._classes)
            else:
                self.estimator.partial_fit(x, y)
        elif getattr(self.estimator, "warm_start", False):
            self.estimator.fit(x, y)
        else:
            raise ModelError(
                f"{type(self.estimator).__name__} has neither partial_fit nor warm_start=True; "
                "it would forget the others' work"
            )

    def _names(self) -> list[str]:
        names = ["coef_", "intercept_", "coefs_", "intercepts_"]
        return [name for name in names if hasattr(self.estimator, name)]

    def _save(self) -> Weights:
        named: dict[str, npt.ArrayLike] = {}
        for name in self._names():
            value = getattr(self.estimator, name)
            if isinstance(value, list):
                named |= {f"{name}.{at}": array for at, array in enumerate(value)}
            else:
                named[name] = np.atleast_1d(value)
        return arrays.save(named, {"estimator": type(self.estimator).__name__})

    def _load(self, weights: Weights) -> None:
        loaded = arrays.load(weights)
        arrays.check_like(loaded, arrays.load(self._save()))
        for name in self._names():
            own = getattr(self.estimator, name)
            if isinstance(own, list):
                setattr(
                    self.estimator,
                    name,
                    [np.array(loaded[f"{name}.{at}"]) for at in range(len(own))],
                )
            else:
                setattr(self.estimator, name, np.array(loaded[name]).reshape(np.shape(own)))

    def _train(self) -> Pass | None:
        x, y = self._data["train"]
        for _ in range(self._epochs):
            self._fit(x, y)
        return None

    def _rights(self) -> npt.NDArray[np.bool_] | None:
        pair = self._rows("test")
        if not self._by_accuracy or pair is None:
            return None
        x, y = pair
        return np.asarray(self.estimator.predict(x) == y)

    def _can_judge(self) -> bool:
        return can_tell(self._data["vote"][1], self._classes is not None)

    def _fine_score(self) -> float | None:
        pair = self._rows("vote")
        if pair is None or self._classes is None or not hasattr(self.estimator, "predict_proba"):
            return self._score(test=False)
        from sklearn.metrics import log_loss

        x, y = pair
        return -float(log_loss(y, self.estimator.predict_proba(x), labels=self._classes))

    def _score(self, test: bool) -> float | None:
        pair = self._rows("test" if test else "vote")
        return None if pair is None else float(self._score_by(self.estimator, *pair))

    def _rows(self, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
        """The rows of that name, if there are any."""
        pair = self._data.get(name)
        return pair if pair is not None and len(pair[1]) else None
