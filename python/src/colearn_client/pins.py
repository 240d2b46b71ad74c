"""Whom to believe: servers' certificates, and what is insisted on of a ledger before anything that it
says is believed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypedDict


class Reach(TypedDict, total=False):
    """How servers are reached by TLS, as keyword arguments. Left out, it is as the environment says.

    Attributes
    ----------
    ca
        A file of certificates in PEM: servers are believed for which one of these vouches, and no
        others (``COLEARN_CA``). By default whom the system believes.
    client_cert
        A file with the certificate that is shown to servers that ask for one (``COLEARN_CLIENT_CERT``).
    client_key
        A file with its key (``COLEARN_CLIENT_KEY``).
    """

    ca: str | os.PathLike[str] | None
    client_cert: str | os.PathLike[str] | None
    client_key: str | os.PathLike[str] | None


class Pins(Reach, total=False):
    """What is insisted on of a ledger, as keyword arguments, and those of :class:`Reach`. What is left
    out is not insisted on.

    Attributes
    ----------
    ledger
        The ledger's id, in hexadecimal.
    verifier_key
        A key that keeps the ledger, or has kept it: the one that ``colearn node`` prints.
    witnesses
        Witnesses' keys, of whom enough must have cosigned the ledger's checkpoint.
    witness_quorum
        How many are enough; by default more than half.
    """

    ledger: str | None
    verifier_key: str | None
    witnesses: Sequence[str]
    witness_quorum: int | None


class ChainPins(Pins, total=False):
    """The same of a ledger that is audited, as keyword arguments.

    Attributes
    ----------
    trust
        Where a contract on a public chain keeps the ledger, the line that ``colearn chain trust``
        prints (see :class:`Trust`): the node there must show what the chain proves of the root.
    """

    trust: str | None


class Trust(Pins, total=False):
    """The same of a ledger that is followed, and what is believed of it unseen, as keyword arguments.
    Where something is left out that a plan says, the plan is followed. Nothing is signed before the
    witnesses that are demanded have seen it.

    Attributes
    ----------
    trust
        A file with a signed checkpoint of the ledger: who has signed what it counts is believed, and
        the rest is checked. For newcomers to a long ledger. Or, where a contract on a public chain
        keeps the ledger, the line ``CHAIN/HEIGHT/HASH/SECONDSs/CODE/CONTRACT`` that ``colearn chain
        trust`` prints: without it nothing is signed there.
    """

    trust: str | os.PathLike[str] | None
