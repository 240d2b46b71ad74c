"""Key files: Ed25519 private keys in PKCS#8 PEM, the same as the colearn program's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from .errors import KeyFileError


def load(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """Reads a key file.

    Raises:
        KeyFileError: If it does not exist, can be read by others, or is not a key.
    """
    path = Path(path)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if os.name == "posix" and mode & 0o077:
            raise KeyFileError(
                f"the private key {path} can be read by others (mode {mode:03o}); run: chmod 600 {path}"
            )
        key = load_pem_private_key(path.read_bytes()[:16_384], password=None)
    except FileNotFoundError as error:
        raise KeyFileError(
            f"there is no key file {path}; make one with: colearn key new {path}"
        ) from error
    except (ValueError, TypeError) as error:
        raise KeyFileError(f"{path} is not an Ed25519 private key in PKCS#8 PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is not an Ed25519 private key in PKCS#8 PEM")
    return key


def save_new(key: Ed25519PrivateKey, path: str | os.PathLike[str]) -> None:
    """Writes a key to a new file with mode 0600.

    Raises:
        KeyFileError: If the file exists.
    """
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise KeyFileError(f"{path} exists and is not overwritten; choose another name") from error
    with os.fdopen(handle, "wb") as file:
        file.write(pem)


def load_or_create(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """Reads a key file, or makes one if there is none."""
    if not Path(path).exists():
        save_new(Ed25519PrivateKey.generate(), path)
    return load(path)


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """The public key, 32 bytes: the learner's identity."""
    return key.public_key().public_bytes_raw()
