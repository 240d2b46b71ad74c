"""Transactions: a learner's signed actions, in their one encoding."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import keys
from ._proto import types_pb2 as types

_DOMAIN = b"colearn/v1/transaction\n"


def signed_bytes(ledger_id: bytes, body: bytes) -> bytes:
    """What a signature covers: the domain, the ledger's id, the body."""
    return _DOMAIN + ledger_id + body


def sign(
    key: Ed25519PrivateKey, ledger_id: bytes, transaction: types.Transaction
) -> types.SignedTransaction:
    """Signs a transaction. Protobuf's own encoding is the one encoding: fields ascend, defaults
    and unknown fields are left out, and there are no maps."""
    body = transaction.SerializeToString(deterministic=True)
    return types.SignedTransaction(
        body=body,
        public_key=keys.public_bytes(key),
        signature=key.sign(signed_bytes(ledger_id, body)),
    )


def commitment(ledger_id: bytes, voter: bytes, vote: types.Vote, salt: bytes, version: int) -> bytes:
    """What a sealed ballot commits to: rule R34 of the contract, as this version of it has it."""
    name = vote.experiment.encode()
    choice = 2 if vote.abstain else int(vote.approve)
    data = b"colearn/v1/ballot\n" if version == 1 else b"colearn/v2/ballot\n"
    data += ledger_id + voter + bytes([len(name)]) + name
    data += vote.round.to_bytes(8, "big") + vote.weights + bytes([choice])
    if version > 1:
        data += bytes([vote.reason])
    for field in ("vote", "test"):
        if vote.scores.HasField(field):
            data += b"\x01" + int(getattr(vote.scores, field)).to_bytes(8, "big", signed=True)
        else:
            data += b"\x00"
    return hashlib.sha256(data + salt).digest()
