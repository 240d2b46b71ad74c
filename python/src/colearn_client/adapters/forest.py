"""scikit-learn's forests and gradient boosting: a proposal adds trees to the shared ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import arrays
from .._core import Weights
from ..errors import ModelError, NotFiniteError
from ..learner import Pass
from ..metrics import Metric
from ._boosting import Recent, is_full
from ._trees import MAX_DEPTH, MAX_TREES, Trees
from .base import can_tell
from .sklearn import Data, SklearnLearner

#: Safetensors, but not ones that can be merged: a mean of two trees' nodes is no tree.
TREES = "application/x-colearn-trees"
#: How each array is written.
_TYPES = {
    "nodes": "<i4", "left": "<i4", "right": "<i4", "feature": "<i4", "threshold": "<f8",
    "missing": "u1", "value": "<f8",
}  # fmt: skip
#: What a node of scikit-learn's has. One that had more would be read from memory that nobody has set.
_NODE = {
    "left_child", "right_child", "feature", "threshold", "impurity", "n_node_samples",
    "weighted_n_node_samples", "missing_go_to_left",
}  # fmt: skip
#: What scikit-learn writes into a leaf as its column and its threshold.
_NO_SPLIT = -2
_AVERAGING = [
    "RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor"
]  # fmt: skip
#: Trees, and scikit-learn's of them.
Made = tuple[Trees, list[Any]]
_BOOSTING = ["GradientBoostingClassifier", "GradientBoostingRegressor"]


class ForestLearner(SklearnLearner):
    """A learner around a random forest, extremely randomised trees or gradient boosting of
    scikit-learn. Its weights are arrays of the trees' nodes in safetensors, of the media type
    ``application/x-colearn-trees``.

    Each proposal adds trees to the shared ones: grown on this learner's rows alone in a forest, and on
    what the shared trees leave over in boosting. What others send is checked before scikit-learn's C
    code walks it. What travels is what predicts: neither impurities nor counts of rows, so
    ``feature_importances_`` are no numbers; measure them by permutation.

    Parameters
    ----------
    estimator
        An untrained ``RandomForestClassifier()``, ``ExtraTreesRegressor()``,
        ``GradientBoostingClassifier()`` or the like, with the same settings for all learners. It
        becomes the shared model; its ``n_estimators`` is how many trees that has.
        ``class_weight="balanced"`` balances the classes of this learner's own rows.
    train
        Features ``[rows, columns]`` and targets ``[rows]`` to train on.
    vote
        The same, to vote on.
    test
        The same, deciding nothing.
    classes
        All classes, the same for all learners; by default those in ``train``.
    trees
        How many trees a proposal adds; in boosting, of how many rounds.
    max_trees
        How many trees the model may have, the same for all learners; one that would have more is
        neither proposed nor taken. Boosting of several classes adds a tree for each.
    score
        ``score(estimator, X, y)``, higher is better, or "accuracy", "balanced_accuracy", "f1"
        or, for numbers, "r2"; by default the estimator's own.
    margin
        Approve what is not worse than now by more than this.
    hide_scores
        Record no scores.
    """

    media_type = TREES

    def __init__(
        self,
        estimator: Any,
        train: Data,
        vote: Data,
        test: Data | None = None,
        *,
        classes: npt.ArrayLike | None = None,
        trees: int = 5,
        max_trees: int = MAX_TREES,
        score: Callable[[Any, Any, Any], float] | Metric | None = None,
        margin: float = 0.0,
        hide_scores: bool = False,
    ) -> None:
        name = type(estimator).__name__
        if name.startswith("HistGradientBoosting"):
            raise ModelError(
                f"{name} splits by bins of its own rows, so nobody else can add trees to it; "
                "LightGBMLearner has the same method"
            )
        if name not in _AVERAGING + _BOOSTING:
            raise ModelError(f"{name} is none of {_AVERAGING + _BOOSTING}")
        if hasattr(estimator, "estimators_"):
            raise ModelError(f"this {name} is trained already; give one that is not")
        self._boosts = name in _BOOSTING
        self._more, self._max_trees = trees, max_trees
        super().__init__(
            estimator,
            train,
            vote,
            test,
            classes=classes,
            score=score,
            margin=margin,
            hide_scores=hide_scores,
        )

    def _initialise(self) -> None:
        """Makes it a model without trees, whatever rows this learner has: the same for everybody."""
        from sklearn import __version__
        from sklearn.utils import check_random_state

        own, (x, y) = self.estimator, self._data["train"]
        if y.ndim != 1:
            raise ModelError(f"targets are one for each row, and not {y.shape}")
        settings = own.get_params()
        # Deeper than others take; and what would look at rows that are made up here.
        depth = min(settings["max_depth"] or MAX_DEPTH, MAX_DEPTH)
        kept = {"warm_start": self._boosts, "max_depth": depth}
        if self._boosts:
            if settings["init"] not in (None, "zero") or not settings["learning_rate"]:
                raise ModelError("gradient boosting is shared with init=None, and learns at some rate")
            kept |= {"init": "zero", "n_iter_no_change": None}
        else:
            kept |= {"oob_score": False, "max_samples": None}
        own.set_params(**kept, n_estimators=1)
        self._random = check_random_state(settings["random_state"])
        classes = [0.0] if self._classes is None else self._classes
        targets = np.ones(2) if self._classes is None else self._classes
        own.fit(np.zeros((len(targets), x.shape[1])), targets)

        if not self._boosts:
            own.set_params(max_samples=settings["max_samples"])

        # What scikit-learn has made of rows of nothing is the frame of what is made of others' arrays.
        trees = np.ravel(own.estimators_)
        self._frame = trees[0]
        self._a_round = len(trees)
        self._node = self._frame.tree_.__getstate__()["nodes"].dtype
        if set(self._node.names) != _NODE:
            raise ModelError(f"the trees of scikit-learn {__version__} are none that are known here")
        self._sums_to_one = self._classes is not None and not self._boosts
        self._outputs = len(classes) if self._sums_to_one else 1
        self._described = {
            "estimator": type(own).__name__,
            "features": str(x.shape[1]),
            "classes": json.dumps(np.asarray(classes).tolist(), default=str),
            "colearn.trees": "1",
        }
        if self._boosts:
            self._described |= {name: str(settings[name]) for name in ("loss", "learning_rate")}
        self._noted = {"scikit-learn": __version__}
        self._recent = Recent()
        self._show(self._checked(Trees.none(self._outputs)))

    def _checked(self, trees: Trees) -> Made:
        """Trees, once they are checked, and scikit-learn's of them."""
        columns = self._data["train"][0].shape[1]
        trees.check(features=columns, outputs=self._outputs, most=self._max_trees)
        if len(trees) % self._a_round:
            raise ModelError(f"{len(trees)} trees are no rounds of {self._a_round}")
        sums = np.clip(trees.value, 0, 2).sum(axis=1)
        if self._sums_to_one and ((trees.value < 0).any() or (abs(sums - 1) > 1e-6).any()):
            raise ModelError("a leaf's probabilities are none")
        # Without trees it cannot predict: until there are some, it says the same of everything.
        nothing = Trees.stump(np.full(self._outputs, 1 / self._outputs if self._sums_to_one else 0))
        return trees, self._made(trees if len(trees) else Trees.joined([nothing] * self._a_round))

    def _show(self, made: Made) -> None:
        """Has the estimator predict with these trees."""
        own = self.estimator
        self._shared, models = made
        own.n_estimators = len(models) // self._a_round
        own.estimators_ = models
        if self._boosts:
            own.estimators_ = np.array(models, dtype=object).reshape(-1, self._a_round)
            own.n_estimators_ = own.n_estimators
            own.train_score_ = np.zeros(own.n_estimators)

    def _made(self, trees: Trees) -> list[Any]:
        """scikit-learn's trees."""
        leaf = trees.leaf
        nodes = np.zeros(len(leaf), self._node)
        nodes["left_child"], nodes["right_child"] = trees.left, trees.right
        nodes["feature"] = np.where(leaf, _NO_SPLIT, trees.feature)
        nodes["threshold"] = np.where(leaf, _NO_SPLIT, trees.threshold)
        nodes["missing_go_to_left"] = trees.missing
        nodes["n_node_samples"] = nodes["weighted_n_node_samples"] = 1
        values = np.zeros((len(leaf), 1, self._outputs))
        values[leaf, 0] = trees.value
        ends = np.cumsum(trees.nodes, dtype=np.int64)
        kind, made_of, _ = self._frame.tree_.__reduce__()
        depth, made = trees.depth(), []
        for start, end in zip(ends - trees.nodes, ends, strict=True):
            tree = kind(*made_of)
            state = {"nodes": nodes[start:end], "values": values[start:end]}
            tree.__setstate__({"max_depth": depth, "node_count": int(end - start), **state})
            model = copy.copy(self._frame)
            model.tree_ = tree
            made.append(model)
        return made

    def _grown(self, models: list[Any]) -> Trees:
        """The arrays of scikit-learn's trees."""
        states = [model.tree_.__getstate__() for model in models]
        nodes = np.concatenate([state["nodes"] for state in states])
        values = np.concatenate([state["values"] for state in states])
        leaf = nodes["left_child"] == -1
        most = np.finfo(np.float64).max
        return Trees(
            nodes=np.array([len(state["nodes"]) for state in states]),
            left=nodes["left_child"],
            right=nodes["right_child"],
            feature=np.where(leaf, -1, nodes["feature"]),
            # Above whatever a column has: only what is missing goes right.
            threshold=np.where(leaf, 0, np.clip(nodes["threshold"], -most, most)),
            missing=np.where(leaf, 0, nodes["missing_go_to_left"]),
            value=values[leaf, 0],
        )

    def _save(self) -> Weights:
        named = {name: getattr(self._shared, name).astype(kind) for name, kind in _TYPES.items()}
        return arrays.save(named, self._described | self._noted)

    def _load(self, weights: Weights) -> None:
        self._show(self._recent.get(weights, self._read))

    def _read(self, weights: Weights) -> Made:
        found, words = arrays.load(weights), arrays.metadata(weights)
        for name, own in self._described.items():
            if words.get(name) != own:
                raise ModelError(
                    f"the model's {name} is {words.get(name)!r:.200}, this learner's {own!r:.200}"
                )
        if {name: array.dtype for name, array in found.items()} != _TYPES:
            raise ModelError(f"the weights are no trees: those are {_TYPES}")
        return self._checked(Trees(**found))

    def _train(self) -> Pass | None:
        x, y = self._data["train"]
        if not can_tell(y, self._classes is not None):
            return Pass(reason="too_little_data")
        # Before the first trees of boosting come those of what all rows have in common.
        rounds = self._more + (self._boosts and not len(self._shared))
        if is_full(len(self._shared), rounds * self._a_round, self._max_trees):
            return Pass()
        weights = None
        if self._classes is not None:
            # A row of each class that weighs nothing, or trees would not know those that are not here.
            count = len(self._classes)
            weights = np.append(self._weighed(y), np.zeros(count))
            x, y = np.append(x, np.repeat(x[:1], count, axis=0), axis=0), np.append(y, self._classes)
        try:
            grown = (self._boosted if self._boosts else self._averaged)(x, y, weights)
            self._show(self._checked(grown))
        except NotFiniteError:
            return Pass(reason="not_finite")
        return None

    def _weighed(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What each row weighs, beside the weights of classes that scikit-learn is given by name: it
        would divide by the rows of classes that are not here."""
        if not isinstance(self.estimator.get_params().get("class_weight"), str):
            return np.ones(len(y))
        _, at, counts = np.unique(y, return_inverse=True, return_counts=True)
        return np.asarray((len(y) / (len(counts) * counts))[at])

    def _averaged(self, x: Any, y: Any, weights: Any) -> Trees:
        from sklearn.base import clone

        seed = int(self._random.randint(2**31 - 1))
        forest = clone(self.estimator).set_params(n_estimators=self._more, random_state=seed)
        if isinstance(forest.get_params().get("class_weight"), str):
            forest.set_params(class_weight=None)
        forest.fit(x, y, sample_weight=weights)
        return Trees.joined([self._shared, self._grown(forest.estimators_)])

    def _boosted(self, x: Any, y: Any, weights: Any) -> Trees:
        own = self.estimator
        if not len(self._shared):
            scale = own.get_params()["learning_rate"]
            prior = Trees.joined([Trees.stump(it / scale) for it in self._prior()])
            self._show(self._checked(prior))
        before = own.n_estimators
        own.set_params(n_estimators=before + self._more).fit(x, y, sample_weight=weights)
        return Trees.joined([self._shared, self._grown(list(own.estimators_[before:].ravel()))])

    def _prior(self) -> npt.NDArray[Any]:
        """What is best for all rows alike, nearly; as if there were one more of each class."""
        y = self._data["train"][1]
        if self._classes is None:
            return np.array([np.mean(y)])
        shares = np.array([1 + np.sum(y == it) for it in self._classes]) / (len(y) + len(self._classes))
        if len(shares) > 2:
            return np.asarray(np.log(shares) - np.log(shares).mean())
        half = 0.5 if self.estimator.get_params()["loss"] == "exponential" else 1.0
        return np.array([half * np.log(shares[1] / shares[0])])
