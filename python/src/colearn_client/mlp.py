"""The NumPy counterpart of colearn's built-in models: linear and softmax regression and multilayer
perceptrons. It reads the same header, so that Rust and Python learners share an experiment."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from . import arrays
from ._core import Weights
from .adapters.base import ModelLearner, can_tell
from .errors import ModelError
from .schema import Schema

HEADER = "colearn.model"
FORMAT = "colearn/model/v1"

Floats = npt.NDArray[np.float32]
#: A pandas DataFrame, or inputs and targets.
Table = Any


class MlpLearner(ModelLearner):
    """A learner for an experiment with a built-in model (``colearn experiment create --model``).

    The weights' header says the layers, and in its schema what columns mean. Data is given as tables,
    which are encoded as the schema says, or as the model's inputs and targets themselves.

    Parameters
    ----------
    train
        What to train on: a pandas DataFrame with the schema's columns, or inputs ``[rows, inputs]`` and
        targets ``[rows]``, class numbers in the schema's order or scaled numbers.
    vote
        The same, to vote on.
    test
        The same, deciding nothing.
    initial
        Where to begin; by default the experiment's model.
    epochs
        Passes over ``train`` for a proposal.
    batch
        Rows in a mini-batch.
    learning_rate
        The step size of gradient descent.
    momentum
        The share of the last step that is added to the next.
    seed
        Decides the order in which rows are visited.
    margin
        Approve what is not worse than now by more than this, in accuracy, or in negative
        mean squared error where a number is predicted.
    hide_scores
        Record no scores.
    """

    def __init__(
        self,
        train: Table,
        vote: Table,
        test: Table | None = None,
        *,
        initial: Weights | None = None,
        epochs: int = 5,
        batch: int = 32,
        learning_rate: float = 0.05,
        momentum: float = 0.9,
        seed: int = 1,
        margin: float = 0.0,
        hide_scores: bool = False,
    ) -> None:
        super().__init__(margin=margin, hide_scores=hide_scores)
        given = {"train": train, "vote": vote, "test": test}
        self._given = {name: table for name, table in given.items() if table is not None}
        # Encoded when it is known how.
        self._data: dict[str, tuple[Floats, npt.NDArray[Any]]] = {}
        self._epochs, self._batch = epochs, batch
        self._rate, self._momentum = learning_rate, momentum
        self._random = np.random.default_rng(seed)
        self.spec: dict[str, Any] | None = None
        self._layers: list[tuple[Floats, Floats]] = []
        if initial is not None:
            self.accept(initial)

    @property
    def classifier(self) -> bool:
        """Whether a class is predicted."""
        return self.spec is not None and self.spec["schema"]["target"]["kind"] == "class"

    def _save(self) -> Weights:
        if self.spec is None:
            raise ModelError("this learner has no model yet; it takes the experiment's")
        named: arrays.Arrays = {}
        for at, (weight, bias) in enumerate(self._layers):
            named |= {f"layers.{at}.weight": weight, f"layers.{at}.bias": bias}
        return arrays.save(named, {HEADER: self._header})

    def _load(self, weights: Weights) -> None:
        header = arrays.metadata(weights).get(HEADER)
        if header is None:
            raise ModelError(f"the weights do not say what model they are of: no {HEADER}")
        try:
            spec = json.loads(header)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"the model's description cannot be read: {error}") from error
        form = spec.get("format") if isinstance(spec, dict) else None
        if form != FORMAT:
            raise ModelError(f"the model's format is {form!r}, not {FORMAT!r}")
        if self.spec is not None and spec != self.spec:
            raise ModelError("the weights are of another model than this learner's")
        widths = layer_widths(spec)
        if not self._data:
            schema = Schema(json.dumps(spec["schema"]))
            self._data = {name: _encoded(table, schema) for name, table in self._given.items()}
        inputs = self._data["train"][0].shape[1]
        if widths[0] != inputs:
            raise ModelError(f"the model has {widths[0]} inputs, the data {inputs}")
        named = arrays.load(weights)
        expected: arrays.Arrays = {}
        for at, (below, above) in enumerate(itertools.pairwise(widths)):
            # Of these shapes, but without memory: a header may promise anything.
            expected[f"layers.{at}.weight"] = np.broadcast_to(np.float32(0), (above, below))
            expected[f"layers.{at}.bias"] = np.broadcast_to(np.float32(0), (above,))
        arrays.check_like(named, expected)
        self._layers = [
            (np.array(named[f"layers.{at}.weight"]), np.array(named[f"layers.{at}.bias"]))
            for at in range(len(widths) - 1)
        ]
        self.spec, self._header = spec, header

    def predict(self, x: Any) -> Floats:
        """Probabilities ``[rows, classes]`` or scaled numbers ``[rows, 1]`` for a table or inputs."""
        if hasattr(x, "to_csv"):
            if self.spec is None:
                raise ModelError("this learner has no model yet; it takes the experiment's")
            x = Schema(json.dumps(self.spec["schema"])).inputs(x)
        return self._forward(np.asarray(x, dtype=np.float32))[-1]

    def _forward(self, x: Floats) -> list[Floats]:
        assert self.spec is not None
        outputs = [x]
        for at, (weight, bias) in enumerate(self._layers):
            z = outputs[-1] @ weight.T + bias
            if at + 1 < len(self._layers):
                z = np.maximum(z, 0) if self.spec["activation"] == "relu" else np.tanh(z)
            elif self.classifier:
                z = np.exp(z - z.max(axis=1, keepdims=True))
                z /= z.sum(axis=1, keepdims=True)
            outputs.append(z.astype(np.float32))
        return outputs

    def _gradients(self, x: Floats, y: npt.NDArray[Any]) -> list[tuple[Floats, Floats]]:
        assert self.spec is not None
        outputs = self._forward(x)
        delta = outputs[-1].copy()
        if self.classifier:
            delta[np.arange(len(y)), y] -= 1
        else:
            delta = 2 * (delta - y[:, None].astype(np.float32))
        delta /= len(y)
        gradients: list[tuple[Floats, Floats]] = []
        for at in reversed(range(len(self._layers))):
            gradients.append((delta.T @ outputs[at], delta.sum(axis=0)))
            if at > 0:
                delta = delta @ self._layers[at][0]
                hidden = outputs[at]
                delta *= hidden > 0 if self.spec["activation"] == "relu" else 1 - hidden**2
        return gradients[::-1]

    def _train(self) -> None:
        x, y = self._data["train"]
        last = [(np.zeros_like(weight), np.zeros_like(bias)) for weight, bias in self._layers]
        for _ in range(self._epochs):
            order = self._random.permutation(len(y))
            for at in range(0, len(y), self._batch):
                rows = order[at : at + self._batch]
                gradients = self._gradients(x[rows], y[rows])
                for (weight, bias), (gw, gb), (vw, vb) in zip(
                    self._layers, gradients, last, strict=True
                ):
                    vw *= self._momentum
                    vw -= self._rate * gw
                    vb *= self._momentum
                    vb -= self._rate * gb
                    weight += vw
                    bias += vb

    def _can_judge(self) -> bool:
        return can_tell(self._data["vote"][1], self.classifier)

    def _score(self, test: bool) -> float | None:
        pair = self._data.get("test" if test else "vote")
        if pair is None or len(pair[1]) == 0:
            return None
        x, y = pair
        predicted = self.predict(x)
        if self.classifier:
            return float(np.mean(predicted.argmax(axis=1) == y))
        return -float(np.mean((predicted[:, 0] - y) ** 2))

    def _fine_score(self) -> float | None:
        if not self.classifier:
            return self._score(test=False)
        x, y = self._data["vote"]
        likely = self.predict(x)[np.arange(len(y)), y]
        # Of no rows it is no number, and their scores serve.
        return float(np.log(np.maximum(likely, 1e-30)).sum() / len(y)) if len(y) else None


def _encoded(table: Table, schema: Schema) -> tuple[Floats, npt.NDArray[Any]]:
    if hasattr(table, "to_csv"):
        return schema.encode(table)
    return np.asarray(table[0], dtype=np.float32), np.asarray(table[1])


def layer_widths(spec: dict[str, Any]) -> list[int]:
    """The widths of a model's layers, inputs first, outputs last.

    Raises
    ------
    ModelError
        If the description is not one.
    """
    try:
        schema = spec["schema"]
        inputs = 0
        for column in schema["features"]:
            kind = column["kind"]
            if kind == "category":
                inputs += len(column["categories"])
            else:
                inputs += 1 if kind == "number" else int(column["width"])
        target = schema["target"]
        outputs = len(target["classes"]) if target["kind"] == "class" else 1
        return [inputs, *(int(width) for width in spec["hidden"]), outputs]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the model's description cannot be read: {error}") from error


def describe(
    inputs: int,
    classes: int,
    hidden: list[int] | None = None,
    activation: str = "relu",
    scale: float = 1.0,
) -> dict[str, Any]:
    """A model's description for data that is one block of numbers, as its header holds it.

    Parameters
    ----------
    inputs
        Columns of the data.
    classes
        How many classes; 0 to predict a number.
    hidden
        The widths of the hidden layers.
    activation
        ``relu`` or ``tanh``.
    scale
        What the numbers were divided by.
    """
    target: dict[str, Any] = {"kind": "number", "name": "y", "mean": 0.0, "scale": 1.0}
    if classes:
        names = [str(at) for at in range(classes)]
        target = {"kind": "class", "name": "y", "classes": names}
    block = {"kind": "block", "name": "x", "width": inputs, "mean": 0.0, "scale": float(scale)}
    schema = {"features": [block], "target": target}
    return {"format": FORMAT, "hidden": hidden or [], "activation": activation, "schema": schema}


def untrained(spec: dict[str, Any], seed: int = 1) -> Weights:
    """Initial weights for a description, drawn by seed (He et al. 2015)."""
    random = np.random.default_rng(seed)
    named: arrays.Arrays = {}
    widths = layer_widths(spec)
    for at, (below, above) in enumerate(itertools.pairwise(widths)):
        bound = np.sqrt(6 / max(below, 1))
        named[f"layers.{at}.weight"] = random.uniform(-bound, bound, (above, below)).astype(np.float32)
        named[f"layers.{at}.bias"] = np.zeros(above, np.float32)
    return arrays.save(named, {HEADER: json.dumps(spec, separators=(",", ":"))})
