"""Hash chains: what members reveal with their votes, so that nobody steers who is drawn (R63)."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ._proto import coordinator_pb2 as coordinator
from .errors import MalformedError

LINKS = 1024
"""How many links a chain has, its anchor not counted."""


def link(secret: bytes, left: int) -> bytes:
    """The link that has ``left`` links left after it; the anchor for :data:`LINKS`."""
    for _ in range(left):
        secret = hashlib.sha256(b"colearn/v2/link\n" + secret).digest()
    return secret


def _secret(key: Ed25519PrivateKey, ledger_id: bytes, experiment: str, anchored: int) -> bytes:
    """A chain's secret. Derived from the key, so that nothing has to be kept."""
    name = experiment.encode()
    data = b"colearn/v2/chain\n" + key.private_bytes_raw() + ledger_id
    data += bytes([len(name)]) + name + anchored.to_bytes(8, "big")
    return hashlib.sha256(data).digest()


def next_link(
    key: Ed25519PrivateKey,
    ledger_id: bytes,
    experiment: str,
    round_: int,
    chain: coordinator.Chain | None,
) -> bytes:
    """What a vote in this round reveals, after a chain of which so much is revealed: its next link, or
    the anchor of a new one.

    Raises:
        MalformedError: If the chain is not this key's. Nothing must be revealed then.
    """
    if chain is None or chain.left == 0:
        return link(_secret(key, ledger_id, experiment, round_), LINKS)
    if chain.left > LINKS:
        raise MalformedError(f"a chain of {chain.left} links")
    found = link(_secret(key, ledger_id, experiment, chain.anchored), chain.left - 1)
    if link(found, 1) != chain.link:
        # Revealing another link would give away those before it.
        raise MalformedError("the hash chain that it shows is not this learner's")
    return found
