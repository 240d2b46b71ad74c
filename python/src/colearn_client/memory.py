"""What a learner remembers between two starts; the same file as the Rust learner's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ._proto import types_pb2 as types
from .note import Receipt


class Memory:
    """The ledger a learner belongs to, the last checkpoint it verified, and the last transaction and
    sealed ballot that it signed; in a folder or, without one, until the process ends."""

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = Path(folder) if folder is not None else None
        self._kept: dict[str, Any] = {}
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / "learner.json"
            if path.exists():
                self._kept = json.loads(path.read_text())

    @property
    def ledger_id(self) -> str | None:
        """The ledger's id, in hexadecimal."""
        return self._kept.get("ledger_id")

    @property
    def checkpoint(self) -> tuple[str, str] | None:
        """The last verified checkpoint and the key that signed it."""
        note, key = self._kept.get("checkpoint"), self._kept.get("verifier_key")
        return (note, key) if note and key else None

    def keep_checkpoint(self, ledger_id: str, verifier_key: str, note: str) -> None:
        """Remembers the ledger and the last verified checkpoint."""
        if self.checkpoint != (note, verifier_key):
            self._kept |= {"ledger_id": ledger_id, "verifier_key": verifier_key, "checkpoint": note}
            self._save()

    def signed_for(self, turn: tuple[str, str, int, bytes]) -> types.SignedTransaction | None:
        """The transaction that was signed for this turn or ballot: it is sent again rather than
        signing another."""
        text = self._kept.get("signed")
        if not text:
            return None
        signed = types.SignedTransaction.FromString(bytes.fromhex(text))
        return signed if turn_of(types.Transaction.FromString(signed.body)) == turn else None

    def keep_signed(self, signed: types.SignedTransaction) -> None:
        """Remembers a transaction before it is sent, durably."""
        self._kept["signed"] = signed.SerializeToString().hex()
        self._save()

    def sealed_for(self, round_: int, weights: bytes) -> types.Reveal | None:
        """The sealed ballot on these weights, if there is one."""
        text = self._kept.get("sealed")
        if not text:
            return None
        reveal = types.Reveal.FromString(bytes.fromhex(text))
        fits = reveal.vote.round == round_ and reveal.vote.weights == weights
        return reveal if fits else None

    def keep_sealed(self, reveal: types.Reveal) -> None:
        """Remembers a sealed ballot before it is committed to: without the salt it could never be
        revealed."""
        self._kept["sealed"] = reveal.SerializeToString().hex()
        self._save()

    def keep_receipt(self, receipt: Receipt, entry: bytes) -> None:
        """Keeps a verified receipt and its entry: ``receipts/<index>.tlog-proof`` and ``.entry``."""
        if self.folder is None:
            return
        folder = self.folder / "receipts"
        folder.mkdir(exist_ok=True)
        (folder / f"{receipt.index}.entry").write_bytes(entry)
        (folder / f"{receipt.index}.tlog-proof").write_text(receipt.to_text())

    def keep_evidence(self, old: str, new: str) -> Path | None:
        """Keeps two checkpoints that do not fit, as evidence."""
        if self.folder is None:
            return None
        path = self.folder / "fork-evidence.txt"
        path.write_text(f"{old}\n---\n\n{new}")
        return path

    def _save(self) -> None:
        if self.folder is None:
            return
        fields = ["ledger_id", "verifier_key", "checkpoint", "signed", "sealed"]
        temporary = self.folder / "learner.json.new"
        with temporary.open("w") as file:
            json.dump({field: self._kept.get(field) for field in fields}, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / "learner.json")


def turn_of(transaction: types.Transaction) -> tuple[str, str, int, bytes] | None:
    """What a learner signs at most once: its turn in a round, or its vote on a proposal."""
    kind = transaction.WhichOneof("action")
    if kind in ("propose", "pass"):
        # `pass` is no name in Python.
        action = getattr(transaction, kind)
        return ("propose", action.experiment, action.round, b"")
    if kind in ("vote", "commit"):
        action = getattr(transaction, kind)
        return ("vote", action.experiment, action.round, action.weights)
    return None
