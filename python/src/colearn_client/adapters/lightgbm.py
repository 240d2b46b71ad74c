"""LightGBM boosters: a proposal adds trees to the shared ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelError
from ._boosting import BoosterLearner, Data
from ._trees import MAX_TREES, Trees

TEXT = "text/x-lightgbm"
#: What says in a model's first lines which one it is.
_HEADER = ["version", "num_class", "num_tree_per_iteration", "max_feature_idx", "objective"]
#: What LightGBM calls the number of threads. A model that is loaded knows no parameters.
_THREADS = ["num_threads", "num_thread", "nthreads", "nthread", "n_jobs"]
#: As many leaves as LightGBM allows.
_MAX_LEAVES = 131_072
#: More characters than a number has, with the blank behind it.
_NUMBER = 32


class LightGBMLearner(BoosterLearner):
    """A learner around a ``lightgbm.Booster``. Its weights are LightGBM's own text; the experiment's
    media type is ``text/x-lightgbm``.

    LightGBM never loads what another member has sent: that is read here, its trees are checked, and
    LightGBM loads a model that is written of them. Its first lines and its parameters are this
    learner's own. The columns' ranges, gains and counts of rows do not travel, since they say something
    about the rows that were trained on.

    Parameters
    ----------
    parameters
        LightGBM's parameters, the same for all learners, with an ``objective``. Not ``linear_tree``,
        and not ``boosting="rf"``.
    train
        Features ``[rows, columns]``, all of them numbers, and targets ``[rows]`` to train on; classes
        are counted from 0.
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
        negative squared error where the objective is not of classes.
    margin
        Approve what is not worse than now by more than this.
    hide_scores
        Record no scores.
    """

    media_type = TEXT
    # Which values count as missing, none, 0 or NaN, times 4; and 2 if they go left.
    _codes = (0, 2, 4, 6, 8, 10)

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
        import lightgbm

        self._lightgbm = lightgbm
        self._parameters = {"verbosity": -1, **parameters}
        columns = np.asarray(train[0]).shape[1]
        # No trees, and nothing of this learner's data: its first lines are the same for everybody.
        classes = int(parameters.get("num_class", 1))
        targets = np.arange(classes) if classes > 1 else np.ones(2)
        nothing = lightgbm.Dataset(np.zeros((len(targets), columns)), targets, params=self._parameters)
        empty = lightgbm.Booster(self._parameters, nothing)
        lines, _ = _split(empty.model_to_string().encode(), max_trees)
        if "average_output" in lines:
            raise ModelError("boosting='rf' averages trees, and others cannot add to them")
        self._lines = [it for it in lines if not it.startswith(("feature_infos=", "tree_sizes="))]
        self._lines.append(f"feature_infos={' '.join(['none'] * columns)}")
        self._header = _fields(self._lines)
        kind = self._header.get("objective", "").split(" ")[0]
        self._threads = {name: parameters[name] for name in _THREADS if name in parameters}
        super().__init__(
            self._parameters,
            train,
            vote,
            test,
            classifies=kind in ("binary", "multiclass", "multiclassova"),
            a_round=int(self._header["num_tree_per_iteration"]),
            trees=trees,
            max_trees=max_trees,
            score=score,
            margin=margin,
            hide_scores=hide_scores,
        )
        self._show(self._made(Trees.none(1)))

    def _read(self, data: bytes) -> Trees:
        try:
            lines, trees = _split(data, self._max_trees)
            header = _fields(lines)
            for name in _HEADER:
                theirs, own = header.get(name), self._header.get(name)
                if theirs != own:
                    raise ModelError(
                        f"the model's {name} is {theirs!r:.80}, this learner's {own!r:.80}"
                    )
            found = [_tree(_fields(it), at) for at, it in enumerate(trees)]
        except (KeyError, ValueError, OverflowError) as error:
            raise ModelError(f"the weights are not a LightGBM model: {error!r:.200}") from error
        return Trees.joined([Trees.none(1), *found])

    def _write(self, trees: Trees) -> bytes:
        found = [_written(at, it) for at, it in enumerate(trees.each())]
        sizes = " ".join(str(len(it)) for it in found)
        lines = [*self._lines, f"tree_sizes={sizes}", "", "".join(found) + "end of trees", ""]
        return "\n".join(lines).encode()

    def _build(self, data: bytes) -> Any:
        return self._lightgbm.Booster(model_str=data.decode())

    def _grow(self) -> Trees:
        x, y = self._data["train"]
        # Without trees it begins with the mean.
        start = None
        if len(self._shared):
            start = self.booster.predict(x, raw_score=True, **self._threads)
        rows = self._lightgbm.Dataset(x, label=y, init_score=start)
        grown = self._lightgbm.train(self._seeded(), rows, num_boost_round=self._trees)
        more = self._read(grown.model_to_string().encode())
        if start is not None and more.leaf.all():
            return self._shared
        return Trees.joined([self._shared, more])

    def _predict(self, name: str) -> npt.NDArray[Any]:
        return np.asarray(self.booster.predict(self._data[name][0], **self._threads))


def _split(data: bytes, most: int) -> tuple[list[str], list[list[str]]]:
    """The first lines, and those of each tree. What comes behind is not read."""
    body, end, _ = data.partition(b"\nend of trees\n")
    if not end or body.count(b"\n") > 100 + 24 * most:
        raise ModelError("the weights are not a LightGBM model of so many trees at most")
    head, *trees = body.decode("ascii").split("\nTree=")
    if head.split("\n", 1)[0] != "tree":
        raise ModelError("the weights are not a LightGBM model")
    return head.rstrip("\n").split("\n"), [it.split("\n") for it in trees]


def _fields(lines: list[str]) -> dict[str, str]:
    """``name=value`` of each line that has both; none may come twice."""
    found: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if name in found:
            raise ValueError(f"{name:.40} comes twice")
        if equals:
            found[name] = value
    return found


def _tree(found: dict[str, str], at: int) -> Trees:
    """One tree: the nodes that split first, in their order, and behind them the leaves."""
    leaves = int(found["num_leaves"])
    if not 1 <= leaves <= _MAX_LEAVES:
        raise ValueError(f"tree {at} has {leaves} leaves")
    if found.get("num_cat", "0") != "0" or found.get("is_linear", "0") != "0":
        raise ValueError(f"tree {at} splits by categories, or has lines in its leaves")

    inner = leaves - 1

    def numbers(name: str, count: int, kind: type[Any]) -> npt.NDArray[Any]:
        text = found[name] if count else ""
        if len(text) > _NUMBER * count or len(parts := text.split()) != count:
            raise ValueError(f"tree {at} has not {count} of {name}")
        return np.array([kind(it) for it in parts], np.dtype(kind))

    def child(name: str) -> npt.NDArray[Any]:
        found = numbers(name, inner, int)
        if ((found < -leaves) | (found >= inner)).any():
            raise ValueError(f"tree {at} has a child that it has not")
        return np.concatenate([np.where(found < 0, inner - 1 - found, found), np.full(leaves, -1)])

    return Trees(
        nodes=np.array([inner + leaves]),
        left=child("left_child"),
        right=child("right_child"),
        feature=np.concatenate([numbers("split_feature", inner, int), np.full(leaves, -1)]),
        threshold=np.concatenate([numbers("threshold", inner, float), np.zeros(leaves)]),
        missing=np.concatenate([numbers("decision_type", inner, int), np.zeros(leaves, int)]),
        value=numbers("leaf_value", leaves, float)[:, None],
    )


def _written(at: int, tree: Trees) -> str:
    """One tree as LightGBM writes it."""
    leaf = tree.leaf
    place = np.where(leaf, 0 - np.cumsum(leaf), np.cumsum(~leaf) - 1)

    def line(name: str, values: npt.NDArray[Any]) -> str:
        return f"{name}={' '.join(map(repr, values.tolist()))}\n"

    return (
        f"Tree={at}\nnum_leaves={int(leaf.sum())}\nnum_cat=0\n"
        + line("split_feature", tree.feature[~leaf])
        + line("threshold", tree.threshold[~leaf])
        + line("decision_type", tree.missing[~leaf])
        + line("left_child", place[tree.left[~leaf]])
        + line("right_child", place[tree.right[~leaf]])
        + line("leaf_value", tree.value[:, 0])
        + "is_linear=0\nshrinkage=1\n\n\n"
    )
