"""Decision trees as flat arrays, and a check of all that the libraries' C code takes for granted.

Another member's model is read into these arrays, checked, and only then made into a model of the
library's, so no library reads what another member has written.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelError, NotFiniteError

#: How many splits may lie between a tree's root and a leaf. With the number of trees it bounds what
#: predicting a row takes.
MAX_DEPTH = 128
#: How many trees a model may have unless a learner says otherwise.
MAX_TREES = 10_000

Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class Trees:
    """Trees one behind the other: the nodes of each follow those of the one before, its root first.

    Attributes
    ----------
    nodes
        How many nodes each tree has, ``[trees]``.
    left, right
        The children of each node, counted within its tree; -1 in a leaf.
    feature
        Which column each node looks at; -1 in a leaf.
    threshold
        The value there that it compares with; 0 in a leaf.
    missing
        Where rows without a value there go, by the library's own code; 0 in a leaf.
    value
        What each leaf says, ``[leaves, outputs]``.
    """

    nodes: Numbers
    left: Numbers
    right: Numbers
    feature: Numbers
    threshold: Numbers
    missing: Numbers
    value: Numbers

    @classmethod
    def none(cls, outputs: int) -> Trees:
        """No trees."""
        whole, real = np.zeros(0, np.int32), np.zeros(0)
        return cls(whole, whole, whole, whole, real, np.zeros(0, np.uint8), np.zeros((0, outputs)))

    @classmethod
    def stump(cls, value: npt.ArrayLike) -> Trees:
        """One tree that is a leaf."""
        one, minus = np.ones(1, np.int32), np.full(1, -1, np.int32)
        row = np.atleast_2d(np.asarray(value, np.float64))
        return cls(one, minus, minus, minus, np.zeros(1), np.zeros(1, np.uint8), row)

    @classmethod
    def joined(cls, parts: Sequence[Trees]) -> Trees:
        """The trees of several, of which there is at least one."""
        return cls(*(np.concatenate([getattr(it, name) for it in parts]) for name in cls.names()))

    @classmethod
    def names(cls) -> list[str]:
        """What the arrays are called."""
        return [field.name for field in fields(cls)]

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def leaf(self) -> npt.NDArray[np.bool_]:
        """Which nodes are leaves."""
        return np.asarray(self.left == -1)

    def each(self) -> list[Trees]:
        """The trees one by one."""
        ends = np.cumsum(self.nodes, dtype=np.int64)[:-1]
        leaves = np.concatenate([[0], np.cumsum(self.leaf)])
        cuts = {"nodes": np.arange(1, len(self)), "value": leaves[ends]}
        pieces = [np.split(getattr(self, name), cuts.get(name, ends)) for name in self.names()]
        return [Trees(*parts) for parts in zip(*pieces, strict=True)] if len(self) else []

    def depth(self) -> int:
        """How many splits lie between a root and a leaf at most; no more than ``MAX_DEPTH + 1`` are
        counted. Children are nodes of their trees."""
        root = np.repeat(np.cumsum(self.nodes, dtype=np.int64) - self.nodes, self.nodes)
        level, leaf, depth = np.unique(root), self.leaf, 0
        while (level := level[~leaf[level]]).size and depth <= MAX_DEPTH:
            level = np.concatenate([root[level] + it[level] for it in (self.left, self.right)])
            depth += 1
        return depth

    def check(self, *, features: int, outputs: int, most: int, codes: Collection[int] = (0, 1)) -> None:
        """Checks that a library can walk these trees with any row, and always ends at a leaf.

        Parameters
        ----------
        features
            How many columns there are.
        outputs
            How many numbers a leaf says.
        most
            How many trees there may be.
        codes
            What ``missing`` may be in a node that is no leaf.

        Raises
        ------
        ModelError
            Says what is wrong.
        """
        nodes, left, right = self.nodes, self.left, self.right
        _need(nodes.ndim == 1, "how many nodes each tree has is not a list")
        _need(len(nodes) <= most, f"there are {len(nodes)} trees, and max_trees={most}")
        _need(bool((nodes >= 1).all()), "a tree has no nodes")
        total = int(nodes.sum(dtype=np.int64))
        for name in ("left", "right", "feature", "threshold", "missing"):
            shape = getattr(self, name).shape
            _need(shape == (total,), f"{name} is {shape}, and the trees have {total} nodes")
        leaf = self.leaf
        expected = (int(leaf.sum()), outputs)
        _need(self.value.shape == expected, f"value is {self.value.shape}, and not {expected}")
        if not (np.isfinite(self.threshold).all() and np.isfinite(self.value).all()):
            raise NotFiniteError("the trees have values that are not finite numbers")

        # Children come behind their parents, so no walk goes in a circle.
        roots = np.cumsum(nodes, dtype=np.int64) - nodes
        root = np.repeat(roots, nodes)
        at, size = np.arange(total) - root, np.repeat(nodes, nodes)
        for child in (left, right):
            inside = (child > at) & (child < size)
            _need(bool(inside[~leaf].all()), "a child is not a later node of its tree")
        blank = (right == -1) & (self.feature == -1) & (self.threshold == 0) & (self.missing == 0)
        _need(bool(blank[leaf].all()), "a leaf has what only other nodes have")
        known = (self.feature >= 0) & (self.feature < features)
        _need(bool(known[~leaf].all()), f"a node looks at a column that is none of the {features}")
        _need(bool(np.isin(self.missing[~leaf], list(codes)).all()), "missing values go nowhere")

        # Each has one parent: no node is part of two trees, or of none.
        children = root + left, root + right
        parents = np.bincount(np.concatenate([it[~leaf] for it in children]), minlength=total)
        parents[roots] += 1
        _need(bool((parents == 1).all()), "a node has several parents, or none")
        _need(self.depth() <= MAX_DEPTH, f"a tree is deeper than {MAX_DEPTH}; set max_depth")


def reached(left: Numbers, right: Numbers) -> Numbers:
    """Which nodes of one tree are reached from its root, in ascending order. Libraries leave some
    behind when they prune.

    Raises
    ------
    ModelError
        If a child is no node, or comes twice.
    """
    seen = np.zeros(len(left), bool)
    level = np.zeros(1, np.int64)
    while level.size:
        inside = (level >= 0) & (level < len(left))
        _need(bool(inside.all()), "a child is no node of its tree")
        _need(not seen[level].any() and len(np.unique(level)) == len(level), "a node comes twice")
        seen[level] = True
        level = level[left[level] != -1]
        level = np.concatenate([left[level], right[level]])
    return np.flatnonzero(seen)


def _need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ModelError(f"the model's trees are not well formed: {otherwise}")
