"""What a table's columns mean: how rows become a model's inputs, the same for everybody."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from ._core import Weights
from .errors import SchemaError


class Schema:
    """The columns that are learned from and how they are scaled, and what is predicted.

    Parameters
    ----------
    text
        The schema as JSON: what ``colearn data schema`` writes, and a built-in model's header holds.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        try:
            self.described: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise SchemaError(f"the schema: {error}") from error

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Schema:
        """Reads a schema file."""
        try:
            return cls(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SchemaError(f"cannot read {os.fspath(path)}: {error}") from error

    @classmethod
    def of_model(cls, weights: Weights) -> Schema:
        """The schema that an experiment's built-in model is for."""
        return cls(_core.model_schema(weights))

    @classmethod
    def derive(
        cls,
        frame: Any,
        label: str,
        *,
        ignore: Sequence[str] = (),
        regression: bool | None = None,
    ) -> Schema:
        """The schema that fits a table, for the others to agree on.

        Parameters
        ----------
        frame
            A pandas DataFrame, or anything with a ``to_csv(index=False)``.
        label
            The column to predict.
        ignore
            Columns to leave out, such as identifiers.
        regression
            Whether to predict a number rather than a class; decided by the column by default.
        """
        return cls(_core.derive(_csv(frame), label, list(ignore), regression))

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of the model's outputs; empty if a number is predicted."""
        return list(self.described["target"].get("classes", []))

    def encode(self, frame: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """A table's rows as a model's inputs and targets.

        Parameters
        ----------
        frame
            A pandas DataFrame with the schema's columns; others are left out.

        Returns
        -------
        inputs : ndarray
            ``[rows, inputs]``, of 32-bit floats.
        targets : ndarray
            ``[rows]``: class numbers in the schema's order, or scaled numbers.

        Raises
        ------
        SchemaError
            Names the column and the row.
        """
        width, inputs, targets, classes = _core.encode(self._text, _csv(frame))
        features = np.frombuffer(inputs, np.float32).reshape(-1, width)
        if classes:
            return features, np.frombuffer(targets, np.uint32).astype(np.int64)
        return features, np.frombuffer(targets, np.float32)

    def inputs(self, frame: Any) -> npt.NDArray[np.float32]:
        """A table's rows as a model's inputs, whether or not it has the column that is predicted."""
        target = self.described["target"]
        stand_in = self.classes[0] if self.classes else 0.0
        return self.encode(frame.assign(**{target["name"]: stand_in}))[0]

    def to_json(self) -> str:
        """The schema as JSON."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.described == other.described

    def __hash__(self) -> int:
        return hash(json.dumps(self.described, sort_keys=True))

    def __repr__(self) -> str:
        columns = [column["name"] for column in self.described["features"]]
        return f"Schema({columns}, target={self.described['target']['name']!r})"


def _csv(frame: Any) -> str:
    """The table as CSV: what is read from a file and what is read from here mean the same."""
    return str(frame.to_csv(index=False))
