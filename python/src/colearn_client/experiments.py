"""Experiments on a node: creating them, and what members decide."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._core import Client, Key, Weights
from .keys import KeyOrFile, opened
from .learner import SAFETENSORS, Learner
from .nodes import Node
from .pins import Trust
from .plans import Plan, text_of, toml

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Created:
    """An experiment that was created.

    Attributes
    ----------
    entry
        The ledger's entry.
    terms
        The digest of its terms, in hexadecimal: what those who join compare. It says it all.
    plan
        The rules as they were recorded, what was left out included, as a plan's text.
    """

    entry: int
    terms: str
    plan: str


@contextmanager
def _signing(node: Node, key: KeyOrFile, pins: Trust) -> Iterator[tuple[Client, Key]]:
    """A connection for a key, with what that remembers."""
    signer, memory = opened(key)
    with Client(node, signer, memory, **pins) as client:
        yield client, signer


def create_experiment(
    node: Node,
    name: str,
    key: KeyOrFile,
    initial: Learner | Weights | Mapping[str, Any],
    plan: Plan | None = None,
    *,
    media_type: str | None = None,
    model_keys: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    **pins: Unpack[Trust],
) -> Created:
    """Creates an experiment for a model of one's own.

    Parameters
    ----------
    node
        The node's address, or those of several.
    name
        The experiment's name: 1 to 64 of ``a-z 0-9 . _ -``.
    key
        The creator's private key, or the file with it (made if there is none).
    initial
        What to begin with: a learner, whose current weights are taken, weights, or named arrays.
    plan
        The rules, and who may join: a plan file, whose digest is then recorded, or a mapping with its
        keys. A mapping that does not say who may join lets anybody.
    media_type
        What kind of weights they are; by default the learner's, or safetensors.
    model_keys
        The file with the keys that the experiment's models are encrypted under, if they are to be: see
        docs/encrypted.md.
    data
        Where the creator's key remembers what it has seen of the ledger; by default the key file's
        name with ``.data``.
    **pins
        Whom to believe, where the plan does not say: see :class:`~colearn_client.pins.Trust`.

    Returns
    -------
    Created
        Its entry, terms and rules.

    Raises
    ------
    PlanError
        If the plan is none, or the rules do not allow it.
    RefusedError
        If the node refuses.

    Examples
    --------
    >>> create_experiment(node, "xray", "me.pem", learner, {"threshold": "2/3", "max_rounds": 20})
    """
    weights: Weights
    if isinstance(initial, Weights):
        weights = initial
    elif isinstance(initial, Mapping):
        from . import arrays

        weights = arrays.save(initial)
    else:
        weights = initial.current()
        media_type = media_type or getattr(initial, "media_type", None)
    text = text_of(plan) or ""
    # A mapping is nobody else's file: there is nothing to compare its digest with.
    agreed = plan is not None and not isinstance(plan, Mapping)
    if isinstance(plan, Mapping) or plan is None:
        given = plan or {}
        if "admission" not in given and "members" not in given:
            text += 'admission = "open"\n'
    signer, memory = opened(key, data, make=True)
    with Client(node, signer, memory, plan=text, **pins) as client:
        entry, terms, recorded = client.create(
            name,
            signer,
            weights,
            media_type or SAFETENSORS,
            text,
            agreed,
            None if model_keys is None else os.fspath(model_keys),
        )
    return Created(entry, terms, recorded)


def move(
    node: Node,
    experiment: str,
    key: KeyOrFile,
    what: str,
    *,
    learner: str | None = None,
    weight: int = 1,
    judge: bool = False,
    name: str | None = None,
    rules: Mapping[str, Any] | None = None,
    version: int | None = None,
    **pins: Unpack[Trust],
) -> int:
    """Moves that the members decide something. Moving approves.

    Parameters
    ----------
    node, experiment, key
        Where, and as whom.
    what
        ``set`` (go on under ``rules``; what is not given stays), ``admit``, ``suspend`` or ``expel`` a
        ``learner``, ``stop``, or ``adopt`` a ``version`` of the rules.
    learner
        A public key, in hexadecimal.
    weight, judge, name
        Of who is admitted: what its vote weighs, whether it only judges, and what it is called.
    rules
        A plan's keys, such as ``{"threshold": "2/3"}``.
    version
        The version to adopt.
    **pins
        Whom to believe: see :class:`~colearn_client.pins.Trust`.

    Returns
    -------
    int
        The motion's number, which the others vote on.
    """
    with _signing(node, key, pins) as (client, signer):
        return client.move_motion(
            experiment,
            signer,
            what,
            learner=learner,
            weight=weight,
            judge=judge,
            called=name,
            rules=None if rules is None else toml(rules),
            version=version,
        )


def vote_on_motion(
    node: Node,
    experiment: str,
    key: KeyOrFile,
    number: int,
    approve: bool,
    **pins: Unpack[Trust],
) -> int:
    """Votes on a motion.

    Parameters
    ----------
    node, experiment, key
        Where, and as whom.
    number
        The motion's number.
    approve
        Whether it should come.
    **pins
        Whom to believe: see :class:`~colearn_client.pins.Trust`.

    Returns
    -------
    int
        The vote's entry.
    """
    with _signing(node, key, pins) as (client, signer):
        return client.vote_on_motion(experiment, number, approve, signer)


def leave(
    node: Node,
    experiment: str,
    key: KeyOrFile,
    *,
    renounce: bool = False,
    **pins: Unpack[Trust],
) -> int:
    """Leaves an experiment from the next round on.

    Parameters
    ----------
    node, experiment, key
        Where, and as whom.
    renounce
        Whether the right to come back, and to decide, is given up for good.
    **pins
        Whom to believe: see :class:`~colearn_client.pins.Trust`.

    Returns
    -------
    int
        The entry.
    """
    with _signing(node, key, pins) as (client, signer):
        return client.leave(experiment, signer, renounce=renounce)


def resume(node: Node, experiment: str, key: KeyOrFile, **pins: Unpack[Trust]) -> int:
    """Lets a paused experiment go on; gives the entry."""
    with _signing(node, key, pins) as (client, signer):
        return client.resume(experiment, signer)


def stop(node: Node, experiment: str, key: KeyOrFile, **pins: Unpack[Trust]) -> int:
    """Ends an experiment alone, where its rules let its creator do that; gives the entry."""
    with _signing(node, key, pins) as (client, signer):
        return client.stop(experiment, signer)


def evaluate(
    node: Node,
    experiment: str,
    key: KeyOrFile,
    measures: Mapping[str, float],
    *,
    model: str | None = None,
    **pins: Unpack[Trust],
) -> int:
    """Records what a model is worth on one's own data. It decides nothing.

    Parameters
    ----------
    node, experiment, key
        Where, and as whom.
    measures
        1 to 16 names with numbers, such as ``{"accuracy": 0.913}``.
    model
        SHA-256 of the model, in hexadecimal; by default the experiment's.
    **pins
        Whom to believe: see :class:`~colearn_client.pins.Trust`.

    Returns
    -------
    int
        The entry.
    """
    with _signing(node, key, pins) as (client, signer):
        return client.evaluate(experiment, signer, dict(measures), model=model)
