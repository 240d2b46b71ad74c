"""Ed25519 private keys, as the colearn program has them: in files, an ssh-agent, behind a command."""

from __future__ import annotations

import os

from ._core import Key

__all__ = ["Key", "load", "load_or_create", "public_bytes", "save_new"]

_Path = str | os.PathLike[str]
#: A private key, or where it is kept: a file, ``agent:COMMENT`` or ``exec:COMMAND``.
KeyOrFile = _Path | Key


def load(path: _Path, passphrase: str | None = None) -> Key:
    """The key in a place: a file, ``agent:COMMENT`` for one in the ssh-agent, or ``exec:COMMAND`` for
    one that a command signs with. An encrypted file opens with the passphrase, or that in the
    environment's ``COLEARN_KEY_PASSPHRASE``.

    Raises
    ------
    KeyFileError
        If a file does not exist, can be read by others, or cannot be opened; or if there is no such key
        in the agent or behind the command.
    """
    return Key.load(path, passphrase)


def save_new(key: Key, path: _Path) -> None:
    """Writes a key to a new file that nobody else can read.

    Raises
    ------
    KeyFileError
        If the file exists, or the key is kept elsewhere.
    """
    key.save_new(path)


def load_or_create(path: _Path) -> Key:
    """The key in a place; in a file that does not exist one is made."""
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
        The key, or where it is kept.
    memory
        The folder; by default the key file's name with ``.data``, or, for a key in no file, one of the
        user's. A ``Key`` has none then.
    make
        Whether to make the file if there is none.
    """
    if isinstance(key, Key):
        return key, memory
    loaded = Key.load_or_create(key) if make else Key.load(key)
    return loaded, loaded.memory_beside(key) if memory is None else memory
