"""Key files: Ed25519 private keys in PKCS#8 PEM, the same as the colearn program's."""

from __future__ import annotations

import os

from ._core import Key

__all__ = ["Key", "load", "load_or_create", "public_bytes", "save_new"]

_Path = str | os.PathLike[str]
#: A private key, or the file with it.
KeyOrFile = _Path | Key


def load(path: _Path, passphrase: str | None = None) -> Key:
    """Reads a key file; one that is encrypted with the passphrase, or that in the environment's
    ``COLEARN_KEY_PASSPHRASE``.

    Raises
    ------
    KeyFileError
        If it does not exist, can be read by others, or cannot be opened.
    """
    return Key.load(path, passphrase)


def save_new(key: Key, path: _Path) -> None:
    """Writes a key to a new file that nobody else can read.

    Raises
    ------
    KeyFileError
        If the file exists.
    """
    key.save_new(path)


def load_or_create(path: _Path) -> Key:
    """Reads a key file, or makes one if there is none."""
    return Key.load_or_create(path)


def public_bytes(key: Key) -> bytes:
    """The public key, 32 bytes: the learner's identity."""
    return key.public


def opened(
    key: KeyOrFile, memory: _Path | None = None, *, make: bool = False
) -> tuple[Key, _Path | None]:
    """A key, and the folder in which it remembers what must survive a restart.

    Parameters
    ----------
    key
        The key, or the file with it.
    memory
        The folder; by default the key file's name with ``.data``. A key that is no file has none then.
    make
        Whether to make the file if there is none.
    """
    if isinstance(key, Key):
        return key, memory
    loaded = Key.load_or_create(key) if make else Key.load(key)
    return loaded, loaded.memory_beside(key) if memory is None else memory
