"""The model out: getting one from where a ledger is, looking into its file, finding it in a ledger."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _core
from .errors import ModelError, SchemaError
from .pins import ChainPins

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Got", "ModelFile", "Predictions", "Tensor", "Verified", "get", "predict", "show", "verify"]


@dataclass(frozen=True)
class Got:
    """A model that was got.

    Attributes
    ----------
    path
        Its file.
    experiment
        The experiment.
    round
        The round that accepted it; 0 of what the experiment began with.
    digest
        SHA-256 of its bytes, in hexadecimal.
    size
        How many bytes.
    media_type
        The format, as the ledger names it.
    current
        Whether it is the experiment's model of now.
    entry
        The ledger's entry that made it that.
    median_vote_score
        The median of what the voters have measured of it, the proposer's own left out; ``None`` where
        nothing was recorded. Higher is better.
    mean_vote_score
        The mean of all that was measured of it, the proposer's own included.
    ledger
        What was verified: ``id``, ``size``, ``root`` and so on.
    """

    path: str
    experiment: str
    round: int
    digest: str
    size: int
    media_type: str
    current: bool
    entry: int
    median_vote_score: float | None
    mean_vote_score: float | None
    ledger: dict[str, Any]


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file, without its numbers.

    Attributes
    ----------
    name
        Its name.
    type
        The type of its numbers, such as ``F32``.
    shape
        Its shape.
    """

    name: str
    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelFile:
    """What is in a model's file.

    Attributes
    ----------
    path
        The file.
    digest
        SHA-256 of its bytes, in hexadecimal.
    size
        How many bytes.
    media_type
        What it looks like; ``None`` where that cannot be told. What follows is of safetensors only.
    parameters
        How many numbers there are in all.
    tensors
        The tensors.
    metadata
        What the metadata says besides a built-in model's header.
    model
        Of a built-in model its ``layers``, ``activation`` and ``schema``.
    error
        Why its header is not to be believed, if it is not.
    """

    path: str
    digest: str
    size: int
    media_type: str | None
    parameters: int | None
    tensors: list[Tensor]
    metadata: dict[str, str]
    model: dict[str, Any] | None
    error: str | None


@dataclass(frozen=True)
class Verified:
    """What a ledger says of a model's file.

    Attributes
    ----------
    accepted
        Whether the ledger can be gone by, and an experiment has or had this model.
    digest
        SHA-256 of the file's bytes, in hexadecimal.
    uses
        What the file is to each experiment, as ``colearn model verify --json`` tells it: its ``role``,
        the ``round``, who proposed it, the ``votes`` with their entries.
    ledger
        What was found of the ledger.
    """

    accepted: bool
    digest: str
    uses: list[dict[str, Any]]
    ledger: dict[str, Any]


@dataclass(frozen=True)
class Predictions:
    """What a built-in model makes of some rows, in their order.

    Attributes
    ----------
    predictions
        ``[rows]``: of each row the likeliest class, as text, or the number in its own unit.
    probabilities
        ``[rows, classes]``: of each class its probability; ``None`` of numbers.
    classes
        The classes, in the order of ``probabilities``; empty of numbers.
    csv
        The same as ``colearn predict`` writes it.
    scores
        Where rows had the column that is predicted: how good the predictions of these are, by each
        measure that suits; higher is better. Otherwise empty.
    scored_rows
        How many rows had it.
    passed_over
        Columns that mean nothing to the model.
    notes
        What was found of how a file is written, that might not be expected.
    """

    predictions: npt.NDArray[Any]
    probabilities: npt.NDArray[np.float32] | None
    classes: list[str]
    csv: str
    scores: dict[str, float]
    scored_rows: int
    passed_over: list[str]
    notes: list[str]


def get(
    experiment: str,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    round: int | None = None,
    best: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **pins: Unpack[ChainPins],
) -> Got:
    """Audits a ledger, and writes one of an experiment's models to a file.

    Nothing that the source says is believed: the file has the digest that an accepted round gives it.
    What was cut short is gone on from when the same is asked for again.

    Parameters
    ----------
    experiment
        Its name.
    source
        A node's URL or data folder, or a folder from ``colearn ledger export --artifacts``.
    out
        The file, which is replaced if it is there.
    round
        The round after which it was the experiment's model; 0 for what that began with. By default it
        is the model of now.
    best
        Of all that were accepted the one with the highest median vote score instead.
    progress
        Told how many entries are audited, and of how many.
    **pins
        What is insisted on: see :class:`~colearn_client.pins.ChainPins`.

    Raises
    ------
    VerificationError
        If the ledger is not as it should be. A member's false statement of privacy is no reason: it is
        in ``ledger``.
    ArtifactError
        If nobody has the weights, or has others in their place.
    ColearnError
        If there is no such model, or it cannot be written.
    """
    if best and round is not None:
        raise ValueError("round and best ask for two models")
    told: dict[str, Any] = _core.model_get(
        experiment, os.fspath(source), os.fspath(out), round=round, best=best, pins=pins, tell=progress
    )
    told["path"] = told.pop("file")
    return Got(**{name: told[name] for name in Got.__dataclass_fields__})


def show(path: str | os.PathLike[str]) -> ModelFile:
    """Looks into a model's file. Nothing in it is executed.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    told: dict[str, Any] = _core.model_show(os.fspath(path))
    tensors = [Tensor(it["name"], it["type"], tuple(it["shape"])) for it in told["tensors"] or []]
    return ModelFile(
        path=told["file"],
        digest=told["digest"],
        size=told["size"],
        media_type=told["media_type"],
        parameters=told["parameters"],
        tensors=tensors,
        metadata=told["metadata"] or {},
        model=told["model"],
        error=told["error"],
    )


def verify(
    path: str | os.PathLike[str],
    source: str | os.PathLike[str],
    experiment: str | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    **pins: Unpack[ChainPins],
) -> Verified:
    """Audits a ledger, and looks a model's file up in it.

    Parameters
    ----------
    path
        The file.
    source
        A node's URL or data folder, or a folder from ``colearn ledger export``.
    experiment
        Where to look; by default in every experiment.
    progress
        Told how many entries are audited, and of how many.
    **pins
        What is insisted on: see :class:`~colearn_client.pins.ChainPins`.

    Raises
    ------
    ColearnError
        If the file or the ledger cannot be read, or there is no such experiment.
    """
    told: dict[str, Any] = _core.model_verify(
        os.fspath(path), os.fspath(source), experiment, pins=pins, tell=progress
    )
    return Verified(told["accepted"], told["digest"], told["uses"], told["ledger"])


def predict(path: str | os.PathLike[str], data: Any) -> Predictions:
    """Has a built-in model predict rows, as ``colearn predict`` does: its header says what it needs.

    Parameters
    ----------
    path
        The model's file, as from :func:`get`.
    data
        A CSV file (plain or gzip) or a Parquet file, or a pandas DataFrame, or anything with a
        ``to_csv(index=False)``, with the columns that the model was trained on, in any order; or an
        array ``[rows, columns]`` with just these columns, in the model's order and in their own units.

    Raises
    ------
    ModelError
        If the file is none of a built-in model.
    SchemaError
        If a column is missing, or a value is one that the model knows nothing about; names the column
        and the line.
    """
    file, table = None, None
    if isinstance(data, (str, os.PathLike)):
        file = os.fspath(data)
    elif hasattr(data, "to_csv"):
        table = str(data.to_csv(index=False))
    else:
        table = _table(path, np.asarray(data))
    told: dict[str, Any] = _core.model_predict(os.fspath(path), file=file, table=table)
    rows = list(csv.reader(io.StringIO(told["csv"])))[1:]
    classes = list(told["classes"])
    scored = told["scored"] or {"rows": 0, "scores": {}}
    firsts = [row[0] for row in rows]
    probabilities = np.array([row[1:] for row in rows], np.float32).reshape(len(rows), len(classes))
    return Predictions(
        predictions=np.array(firsts, np.str_) if classes else np.array(firsts, np.float32),
        probabilities=probabilities if classes else None,
        classes=classes,
        csv=told["csv"],
        scores=scored["scores"],
        scored_rows=scored["rows"],
        passed_over=told["passed_over"],
        notes=told["notes"],
    )


def _table(path: str | os.PathLike[str], rows: npt.NDArray[Any]) -> str:
    """An array as CSV, with the names of the model's columns."""
    told = show(path)
    if told.model is None:
        why = f": {told.error}" if told.error else ""
        raise ModelError(f"{os.fspath(path)} cannot be used: it is of no built-in model{why}")
    names: list[str] = []
    for column in told.model["schema"]["features"]:
        # Inputs without names are known by their order.
        width = column.get("width")
        names += [column["name"]] if width is None else [f"{column['name']}{at}" for at in range(width)]
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise SchemaError(
            f"the array's shape is {rows.shape}, and the model needs [rows, {len(names)}]"
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    # As numbers of Python's, which are written so that they are read back the same; what is missing as
    # nothing.
    writer.writerows([["" if it is None or it != it else it for it in row] for row in rows.tolist()])
    return text.getvalue()
