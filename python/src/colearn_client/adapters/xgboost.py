"""XGBoost boosters: a proposal adds trees to the shared ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelError, NotFiniteError
from . import _ubjson
from ._boosting import BoosterLearner, Data
from ._trees import MAX_TREES, Trees, reached

UBJSON = "application/x-xgboost-ubj"
#: What XGBoost writes for the parent of a root.
_NO_PARENT = 2**31 - 1
_WHOLE = ["i1", "u1", "i2", "i4", "i8"]


class XGBoostLearner(BoosterLearner):
    """A learner around an ``xgboost.Booster`` of trees. Its weights are XGBoost's own UBJSON; the
    experiment's media type is ``application/x-xgboost-ubj``.

    XGBoost never loads what another member has sent: that is read here, its trees are checked, and
    XGBoost loads a model that is written of them. Gains and sums of hessians do not travel, since they
    say something about the rows that were trained on.

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
    max_trees
        How many trees the model may have, the same for all learners; one that would have more is
        neither proposed nor taken. A round adds ``trees``, times the classes where they are several.
    score
        ``score(targets, predictions)``, higher is better; by default accuracy, or the
        negative squared error where the objective is neither ``binary:...`` nor ``multi:...``.
    margin
        Approve what is not worse than now by more than this.
    hide_scores
        Record no scores.
    """

    media_type = UBJSON

    def __init__(
        self,
        parameters: dict[str, Any],
        train: Data,
        vote: Data,
        test: Data | None = None,
        *,
        trees: int = 5,
        max_trees: int = MAX_TREES,
        score: Callable[[Any, Any], float] | None = None,
        margin: float = 0.0,
        hide_scores: bool = False,
    ) -> None:
        import xgboost

        if parameters.get("booster", "gbtree") != "gbtree":
            raise ModelError(f"booster={parameters['booster']!r} has no trees that others can add to")
        self._xgboost = xgboost
        self._parameters = {"base_score": 0.5, **parameters}
        objective = str(parameters.get("objective", ""))
        classes = max(1, int(parameters.get("num_class", 1)))
        self._parallel = int(parameters.get("num_parallel_tree", 1))
        super().__init__(
            self._parameters,
            train,
            vote,
            test,
            classifies=objective.startswith(("binary:", "multi:")),
            a_round=classes * self._parallel,
            trees=trees,
            max_trees=max_trees,
            score=score or (_share_right if objective == "multi:softmax" else None),
            margin=margin,
            hide_scores=hide_scores,
        )
        self._rows = {name: xgboost.DMatrix(x, label=y) for name, (x, y) in self._data.items()}
        self._classes = classes
        # No trees yet, and nothing of this learner's data: the same for everybody.
        nothing = xgboost.DMatrix(np.zeros((2, self._columns)), label=np.array([0, 1]))
        self._template = self._parsed(xgboost.train(self._parameters, nothing, num_boost_round=0))
        self._show(self._made(Trees.none(1)))

    def _parsed(self, booster: Any) -> dict[str, Any]:
        found = _ubjson.load(bytes(booster.save_raw("ubj")), self._most_parts())
        assert isinstance(found, dict)
        return found

    def _most_parts(self) -> int:
        # A tree is less than forty values, one of them in a list of all trees' classes.
        return 1000 + 8 * self._columns + 50 * self._max_trees

    def _read(self, data: bytes) -> Trees:
        return self._trees_of(_ubjson.load(data, self._most_parts()))

    def _trees_of(self, parsed: Any) -> Trees:
        own = self._template
        try:
            learner, mine = parsed["learner"], own["learner"]
            _same("objective", learner["objective"]["name"], mine["objective"]["name"])
            for name, number in mine["learner_model_param"].items():
                if name != "boost_from_average":
                    _same(name, _numbers(learner["learner_model_param"][name]), _numbers(number))
            _same("booster", learner["gradient_booster"]["name"], "gbtree")
            model = learner["gradient_booster"]["model"]
            classes = [int(it) for it in model["tree_info"]]
            if classes != self._tree_info(len(classes)) or len(model["trees"]) != len(classes):
                raise ModelError("the model's trees are of other classes, or of other rounds")
            trees = [_tree(it) for it in model["trees"]]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(f"the weights are not an XGBoost model: {error!r}") from error
        return Trees.joined([Trees.none(1), *trees])

    def _tree_info(self, trees: int) -> list[int]:
        """Which class each tree is of."""
        return [at // self._parallel % self._classes for at in range(trees)]

    def _write(self, trees: Trees) -> bytes:
        learner = self._template["learner"]
        booster = learner["gradient_booster"]
        count = len(trees)
        model = {
            **booster["model"],
            "gbtree_model_param": {
                **booster["model"]["gbtree_model_param"],
                "num_trees": str(count),
            },
            "iteration_indptr": list(range(0, count + 1, self._a_round)),
            "tree_info": self._tree_info(count),
            "trees": [_written(at, it, self._columns) for at, it in enumerate(trees.each())],
        }
        learner = {**learner, "gradient_booster": {**booster, "model": model}}
        return _ubjson.dump({**self._template, "learner": learner})

    def _build(self, data: bytes) -> Any:
        booster = self._xgboost.Booster()
        booster.load_model(bytearray(data))
        booster.set_param(self._parameters)
        return booster

    def _grow(self) -> Trees:
        trained = self._xgboost.train(
            self._seeded(),
            self._rows["train"],
            num_boost_round=self._trees,
            xgb_model=self.booster,
        )
        return self._trees_of(self._parsed(trained))

    def _predict(self, name: str) -> npt.NDArray[Any]:
        return np.asarray(self.booster.predict(self._rows[name]))


def _tree(found: dict[str, Any]) -> Trees:
    """One tree, without the nodes that were pruned."""
    left, right, feature, condition, default_left, split_type = (
        _array(found[name], kinds)
        for name, kinds in {
            "left_children": _WHOLE,
            "right_children": _WHOLE,
            "split_indices": _WHOLE,
            "split_conditions": ["f4"],
            "default_left": _WHOLE,
            "split_type": _WHOLE,
        }.items()
    )
    if not len(left) or len({len(it) for it in (left, right, feature, condition, default_left)}) > 1:
        raise ValueError("a tree's lists are empty, or of several lengths")
    # Of categories, which columns of numbers do not have; several numbers in a leaf.
    if split_type.any() or len(found["categories"]):
        raise ValueError("a tree splits by categories")
    if int(found["tree_param"]["size_leaf_vector"]) > 1:
        raise ValueError("a leaf has several values")
    if 2 * int((left != -1).sum()) + 1 != len(left):
        kept = reached(left, right)
        # One more, so that the child of a leaf, -1, stays what it is.
        place = np.full(len(left) + 1, -1)
        place[kept] = np.arange(len(kept))
        left, right = place[left[kept]], place[right[kept]]
        feature, condition, default_left = feature[kept], condition[kept], default_left[kept]
    leaf = left == -1
    if not np.isfinite(condition).all():
        raise NotFiniteError("a tree has values that are not finite numbers")
    return Trees(
        nodes=np.array([len(left)]),
        left=left.astype(np.int64),
        right=right.astype(np.int64),
        feature=np.where(leaf, -1, feature).astype(np.int64),
        threshold=np.where(leaf, 0, condition).astype(np.float64),
        missing=np.where(leaf, 0, default_left).astype(np.int64),
        value=condition[leaf].astype(np.float64)[:, None],
    )


def _written(at: int, tree: Trees, columns: int) -> dict[str, Any]:
    """One tree as XGBoost keeps it."""
    leaf, count = tree.leaf, len(tree.left)
    condition = tree.threshold.astype(np.float32)
    condition[leaf] = tree.value[:, 0]
    parents = np.full(count, _NO_PARENT, np.int32)
    for child in (tree.left, tree.right):
        parents[child[~leaf]] = np.flatnonzero(~leaf)
    nothing, none = np.zeros(count, np.float32), np.zeros(0, np.int32)
    return {
        "base_weights": nothing,
        "categories": none,
        "categories_nodes": none,
        "categories_segments": none.astype(np.int64),
        "categories_sizes": none.astype(np.int64),
        "default_left": tree.missing.astype(np.uint8),
        "id": at,
        "left_children": tree.left.astype(np.int32),
        "loss_changes": nothing,
        "parents": parents,
        "right_children": tree.right.astype(np.int32),
        "split_conditions": condition,
        "split_indices": np.where(leaf, 0, tree.feature).astype(np.int32),
        "split_type": np.zeros(count, np.uint8),
        "sum_hessian": nothing,
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(columns),
            "num_nodes": str(count),
            "size_leaf_vector": "1",
        },
    }


def _array(found: Any, kinds: list[str]) -> npt.NDArray[Any]:
    if not isinstance(found, np.ndarray) or found.dtype.newbyteorder("=") not in kinds:
        raise ValueError("a list is none of such numbers")
    return found


def _numbers(text: str) -> set[float]:
    """A parameter's numbers: what all versions of XGBoost mean by ``5E-1`` and ``[5E-1,5E-1]``."""
    return {float(it) for it in text.strip("[]").split(",")}


def _same(what: str, found: object, own: object) -> None:
    if found != own:
        raise ModelError(f"the model's {what} is {found!r:.80}, this learner's {own!r:.80}")


def _share_right(targets: Any, predictions: Any) -> float:
    return float(np.mean(targets == predictions))
