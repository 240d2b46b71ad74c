"""The model out: getting one from where a ledger is, looking into its file, finding it in a ledger."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _core
from .pins import Pins

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Got", "ModelFile", "Tensor", "Verified", "get", "show", "verify"]


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


def get(
    experiment: str,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    round: int | None = None,
    best: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **pins: Unpack[Pins],
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
        What is insisted on: see :class:`~colearn_client.pins.Pins`.

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
    **pins: Unpack[Pins],
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
        What is insisted on: see :class:`~colearn_client.pins.Pins`.

    Raises
    ------
    ColearnError
        If the file or the ledger cannot be read, or there is no such experiment.
    """
    told: dict[str, Any] = _core.model_verify(
        os.fspath(path), os.fspath(source), experiment, pins=pins, tell=progress
    )
    return Verified(told["accepted"], told["digest"], told["uses"], told["ledger"])
