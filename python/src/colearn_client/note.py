"""Signed notes, checkpoints and receipts (C2SP signed-note, tlog-checkpoint, tlog-proof)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .errors import NoteError
from .tree import verify_inclusion

MAX_NOTE_BYTES = 65_536
MAX_PATH = 64
_RECEIPT = "c2sp.org/tlog-proof@v1\n"
_LOG, _WITNESS = 0x01, 0x04


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError(f"not a well-formed checkpoint: bad base64 in {text[:80]!r}") from error


@dataclass(frozen=True)
class Verifier:
    """A public key with its name: ``<name>+<hex key id>+<base64(type || key)>``.

    Attributes:
        name: What it signs as.
        key: The Ed25519 public key, 32 bytes.
        kind: 1 for a log's key, 4 for a witness's.
    """

    name: str
    key: bytes
    kind: int = _LOG

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Reads the text form.

        Raises:
            NoteError: If it is not of the form, or the key id does not belong to it.
        """
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise NoteError("not a verifier key of the form <name>+<key id>+<base64>")
        name, key_id, encoded = parts
        data = _decode(encoded)
        if len(data) != 33 or data[0] not in (_LOG, _WITNESS) or not name:
            raise NoteError("not a verifier key of an Ed25519 key")
        verifier = cls(name, data[1:], data[0])
        if verifier.key_id.hex() != key_id:
            raise NoteError("the key id does not belong to the name and key")
        return verifier

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256(name || "\\n" || type || key)."""
        data = self.name.encode() + b"\n" + bytes([self.kind]) + self.key
        return hashlib.sha256(data).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.kind]) + self.key).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether a signature of 64 bytes is this key's."""
        return verify_signature(self.key, message, signature)


def verify_signature(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 signature verifies."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def open_note(note: str, verifier: Verifier) -> str:
    """The text of a signed note, if the verifier's key signed it.

    Raises:
        NoteError: If it is not a note, or not signed by that key.
    """
    if len(note.encode()) > MAX_NOTE_BYTES or not note.endswith("\n"):
        raise NoteError("not a well-formed checkpoint: too long, or cut off")
    text, separator, signatures = note.rpartition("\n\n")
    if not separator:
        raise NoteError("not a well-formed checkpoint: no signatures")
    text += "\n"
    found = False
    for line in signatures.splitlines():
        if not line.startswith("— ") or line.count(" ") != 2:
            raise NoteError("not a well-formed checkpoint: a bad signature line")
        _, name, encoded = line.split(" ")
        data = _decode(encoded)
        if name != verifier.name or data[:4] != verifier.key_id:
            continue
        message, signature = text.encode(), data[4:]
        if verifier.kind == _WITNESS:
            time = int.from_bytes(signature[:8], "big")
            message = f"cosignature/v1\ntime {time}\n{text}".encode()
            signature = signature[8:]
        if not verifier.verify(message, signature):
            raise NoteError(f"the signature by {name} does not verify")
        found = True
    if not found:
        raise UnsignedError(f"the checkpoint has no signature by {verifier.name}")
    return text


class UnsignedError(NoteError):
    """No line is signed by the expected key."""


@dataclass(frozen=True)
class Checkpoint:
    """How long a ledger is, and the root of the tree over it.

    Attributes:
        origin: The ledger's name.
        size: The number of entries.
        root: The root, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Reads a checkpoint's text; nothing is verified."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise NoteError("not a well-formed checkpoint: three lines are needed")
        origin, size, root = lines[:3]
        canonical = size.isascii() and size.isdigit() and (size == "0" or size[0] != "0")
        if not origin or not canonical or int(size) >= 1 << 63:
            raise NoteError("not a well-formed checkpoint: a bad origin or size")
        data = _decode(root)
        if len(data) != 32:
            raise NoteError("not a well-formed checkpoint: a root is 32 bytes")
        return cls(origin, int(size), data)

    @classmethod
    def open(cls, note: str, verifier: Verifier) -> Checkpoint:
        """Reads a signed checkpoint.

        Raises:
            NoteError: If it is not signed by that key, or of another ledger.
        """
        checkpoint = cls.parse(open_note(note, verifier))
        if checkpoint.origin != verifier.name:
            raise NoteError(f"the checkpoint is of {checkpoint.origin}, not of {verifier.name}")
        return checkpoint


@dataclass(frozen=True)
class Receipt:
    """The proof that a ledger holds an entry.

    Attributes:
        index: The entry's place.
        path: The inclusion proof, hashes of 32 bytes.
        checkpoint: The signed checkpoint, verbatim.
    """

    index: int
    path: Sequence[bytes]
    checkpoint: str

    def verify(self, leaf: bytes, verifier: Verifier) -> Checkpoint:
        """Verifies that the signed checkpoint's tree holds this leaf.

        Raises:
            NoteError: If it does not.
        """
        checkpoint = Checkpoint.open(self.checkpoint, verifier)
        if not verify_inclusion(leaf, self.index, checkpoint.size, self.path, checkpoint.root):
            raise NoteError("the proof does not lead to the checkpoint's root")
        return checkpoint

    def to_text(self) -> str:
        """The receipt as a file (C2SP tlog-proof)."""
        lines = "".join(base64.b64encode(item).decode() + "\n" for item in self.path)
        return f"{_RECEIPT}index {self.index}\n{lines}\n{self.checkpoint}"

    @classmethod
    def parse(cls, text: str) -> Receipt:
        """Reads a receipt file; nothing is verified."""
        if not text.startswith(_RECEIPT) or len(text.encode()) > MAX_NOTE_BYTES:
            raise NoteError("not a receipt")
        head, separator, checkpoint = text[len(_RECEIPT) :].partition("\n\n")
        lines = head.split("\n")
        index = lines[0].removeprefix("index ")
        if not separator or not index.isdigit() or len(lines) - 1 > MAX_PATH:
            raise NoteError("not a receipt: no index, no checkpoint or too long a proof")
        return cls(int(index), [_decode(line) for line in lines[1:]], checkpoint)
