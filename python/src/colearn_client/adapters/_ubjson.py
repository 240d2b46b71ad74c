"""UBJSON as XGBoost writes it: reading it in bounded memory, and writing it.

Typed lists are NumPy arrays. What XGBoost does not write is refused: objects with a type or a count,
lists of elements without bytes, keys that come twice.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ..errors import ModelError

_TYPES: dict[bytes, np.dtype[Any]] = {
    b"i": np.dtype(">i1"), b"U": np.dtype(">u1"), b"I": np.dtype(">i2"), b"l": np.dtype(">i4"),
    b"L": np.dtype(">i8"), b"d": np.dtype(">f4"), b"D": np.dtype(">f8"),
}  # fmt: skip
_SCALARS = {
    b"i": struct.Struct(">b"), b"U": struct.Struct(">B"), b"I": struct.Struct(">h"),
    b"l": struct.Struct(">i"), b"L": struct.Struct(">q"), b"d": struct.Struct(">f"),
    b"D": struct.Struct(">d"),
}  # fmt: skip
_MARKERS = {(kind.kind, kind.itemsize): marker for marker, kind in _TYPES.items()}
_PLAIN = {b"Z": None, b"T": True, b"F": False}
_MAX_NESTING = 16


def load(data: bytes, most: int) -> Any:
    """Decodes a value of at most so many parts.

    Raises
    ------
    ModelError
        If the bytes are something else.
    """
    reader = _Reader(data, most)
    try:
        value = reader.value(reader.take(1), 0)
    except (struct.error, UnicodeDecodeError) as error:
        raise _malformed(error) from error
    if reader.at != len(data):
        raise _malformed("bytes are left over")
    return value


class _Reader:
    def __init__(self, data: bytes, most: int) -> None:
        self.data, self.at, self.left = data, 0, most

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.data) - self.at:
            raise _malformed("it ends early")
        start = self.at
        self.at = start + count
        return self.data[start : self.at]

    def number(self, marker: bytes) -> Any:
        kind = _SCALARS.get(marker)
        if kind is None:
            raise _malformed(f"{marker!r} is no number")
        return kind.unpack(self.take(kind.size))[0]

    def length(self, marker: bytes | None = None) -> int:
        length = self.number(marker or self.take(1))
        if not isinstance(length, int) or length < 0:
            raise _malformed("a length is none")
        return length

    def value(self, marker: bytes, depth: int) -> Any:
        self.left -= 1
        if self.left < 0 or depth > _MAX_NESTING:
            raise _malformed("it has more parts than such a model")
        if marker == b"{":
            return self.mapping(depth)
        if marker == b"[":
            return self.list(depth)
        if marker == b"S":
            return self.take(self.length()).decode()
        if marker in _PLAIN:
            return _PLAIN[marker]
        return self.number(marker)

    def mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (marker := self.take(1)) != b"}":
            name = self.take(self.length(marker)).decode()
            if name in found:
                raise _malformed(f"{name[:40]!r} comes twice")
            found[name] = self.value(self.take(1), depth + 1)
        return found

    def list(self, depth: int) -> Any:
        marker = self.take(1)
        if marker == b"$":
            kind = _TYPES.get(self.take(1))
            if kind is None or self.take(1) != b"#":
                raise _malformed("a list has no such type")
            return np.frombuffer(self.take(self.length() * kind.itemsize), kind)
        if marker == b"#":
            count = self.length()
            if count > self.left:
                raise _malformed("it has more parts than such a model")
            return [self.value(self.take(1), depth + 1) for _ in range(count)]
        found = []
        while marker != b"]":
            found.append(self.value(marker, depth + 1))
            marker = self.take(1)
        return found


def dump(value: Any) -> bytes:
    """Encodes what :func:`load` gives."""
    parts: list[bytes] = []
    _write(value, parts)
    return b"".join(parts)


def _write(value: Any, parts: list[bytes]) -> None:
    if isinstance(value, dict):
        parts.append(b"{")
        for name, item in value.items():
            parts.append(_text(name))
            _write(item, parts)
        parts.append(b"}")
    elif isinstance(value, np.ndarray):
        marker = _MARKERS[value.dtype.kind, value.dtype.itemsize]
        parts += [b"[$", marker, b"#", _whole(len(value)), value.astype(_TYPES[marker]).tobytes()]
    elif isinstance(value, list):
        parts += [b"[#", _whole(len(value))]
        for item in value:
            _write(item, parts)
    elif isinstance(value, str):
        parts += [b"S", _text(value)]
    elif value is None or isinstance(value, bool):
        parts.append(b"Z" if value is None else b"T" if value else b"F")
    elif isinstance(value, int):
        parts.append(_whole(value))
    else:
        parts.append(b"D" + struct.pack(">d", value))


def _whole(value: int) -> bytes:
    return b"L" + struct.pack(">q", value)


def _text(value: str) -> bytes:
    return _whole(len(value.encode())) + value.encode()


def _malformed(why: object) -> ModelError:
    return ModelError(f"the weights are not an XGBoost model in UBJSON: {why}")
