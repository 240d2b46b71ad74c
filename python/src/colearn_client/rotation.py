"""The keys that sign a ledger's checkpoints: the first entry's, and those it was changed to."""

from __future__ import annotations

from ._proto import types_pb2 as types
from .errors import MalformedError
from .note import Verifier, verify_signature


class LogKeys:
    """The keys of a ledger, from the first on."""

    def __init__(self, genesis: types.Genesis, ledger_id: bytes) -> None:
        self._ledger_id = ledger_id
        self._keys: list[tuple[int, Verifier]] = [
            (-1, Verifier(genesis.origin, bytes(genesis.log_public_key)))
        ]

    @property
    def current(self) -> Verifier:
        """The key that signs now."""
        return self._keys[-1][1]

    def at(self, size: int) -> Verifier:
        """The key that must have signed a checkpoint of this size."""
        return next(key for index, key in reversed(self._keys) if index < size)

    def follow(self, index: int, rotation: types.KeyRotation) -> None:
        """Follows the change at an entry.

        Raises:
            MalformedError: If it is not signed by the key until then and the new one.
        """
        old, new = bytes(rotation.old_public_key), bytes(rotation.new_public_key)
        message = b"colearn/v1/key-rotation\n" + self._ledger_id + old + new
        signed = verify_signature(old, message, rotation.old_signature) and verify_signature(
            new, message, rotation.new_signature
        )
        if old != self.current.key or new == old or not signed:
            raise MalformedError(f"entry {index} does not change the ledger's key as it should")
        self._keys.append((index, Verifier(self.current.name, new)))
