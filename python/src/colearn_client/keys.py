"""Key files: Ed25519 private keys in PKCS#8 PEM, the same as the colearn program's."""

from __future__ import annotations

import os

from ._core import Key

__all__ = ["Key", "load", "load_or_create", "public_bytes", "save_new"]


def load(path: str | os.PathLike[str], passphrase: str | None = None) -> Key:
    """Reads a key file; one that is encrypted with the passphrase, or that in the environment's
    ``COLEARN_KEY_PASSPHRASE``.

    Raises
    ------
    KeyFileError
        If it does not exist, can be read by others, or cannot be opened.
    """
    return Key.load(path, passphrase)


def save_new(key: Key, path: str | os.PathLike[str]) -> None:
    """Writes a key to a new file that nobody else can read.

    Raises
    ------
    KeyFileError
        If the file exists.
    """
    key.save_new(path)


def load_or_create(path: str | os.PathLike[str]) -> Key:
    """Reads a key file, or makes one if there is none."""
    return Key.load_or_create(path)


def public_bytes(key: Key) -> bytes:
    """The public key, 32 bytes: the learner's identity."""
    return key.public
