"""Weights as named arrays: safetensors, which cannot execute code.

Neither direction copies an array more than once: encoding copies each into the bytes, or, where they
are many, into a file, and decoding gives read-only views of them.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ._core import Weights
from .errors import ModelError, NotFiniteError

Arrays = dict[str, npt.NDArray[Any]]

#: The format's names of NumPy's types. ``bfloat16`` is none of NumPy's: its numbers are read as floats
#: of 32 bits, and written where :func:`save` is told which arrays hold their upper halves.
_TYPES: dict[str, npt.DTypeLike] = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": "<u2", "I16": "<i2", "U32": "<u4",
    "I32": "<i4", "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
    "C64": "<c8",
}  # fmt: skip
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}
#: Where a process's open files can be opened once more.
_OPEN = Path("/dev/fd")
#: From so many bytes on weights lie in a file.
_LARGE = 16 << 20
#: How much of an array is looked at in one go.
_PIECE = 1 << 20
#: Where the metadata lists the statistics; see merge/README.md.
_STATISTICS = "colearn.statistics"


def save(
    arrays: Mapping[str, npt.ArrayLike],
    metadata: Mapping[str, str] | None = None,
    *,
    bfloat16: frozenset[str] = frozenset(),
    statistics: Iterable[str] = (),
) -> Weights:
    """Encodes named arrays.

    Parameters
    ----------
    arrays
        The arrays, of any shape and numeric type.
    metadata
        Words to go with them.
    bfloat16
        Names of arrays of 16-bit integers that are the bits of such floats.
    statistics
        Names of arrays of floats that are estimated and not trained, such as running variances: merged
        rounds take the middle of them, without momentum.
    """
    # Not ascontiguousarray, which makes a row of one out of a single number.
    tensors = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header: dict[str, Any] = {}
    words = dict(metadata or {})
    # The list has commas between them.
    if listed := sorted(name for name in statistics if "," not in name):
        words[_STATISTICS] = ",".join(listed)
    if words:
        header["__metadata__"] = dict(sorted(words.items()))
    # Widest first, so that everything is aligned; then by name: the same arrays give the same bytes.
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    at, parts = 0, []
    for name in names:
        tensor = tensors[name]
        kind = "BF16" if name in bfloat16 else _NAMES.get(tensor.dtype.newbyteorder("<"))
        if kind is None:
            raise ModelError(f"tensor {name!r} is of {tensor.dtype}, which weights cannot hold")
        if tensor.dtype.byteorder == ">":
            tensor = tensor.astype(tensor.dtype.newbyteorder("<"))
        offsets = [at, at + tensor.nbytes]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": offsets}
        at += tensor.nbytes
        parts.append(tensor.reshape(-1).view(np.uint8).data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    pieces: list[Any] = [len(text).to_bytes(8, "little"), text, *parts]
    if at < _LARGE or not _OPEN.is_dir():
        return Weights(b"".join(pieces))
    # Not in memory, where the model itself is already; and without a name, so that nothing stays.
    with tempfile.TemporaryFile(dir=_scratch()) as file:
        file.writelines(pieces)
        file.flush()
        return Weights.open(_OPEN / str(file.fileno()))


def _scratch() -> str | None:
    """Where large files may lie for a while: ``TMPDIR`` if that is set, and otherwise
    rather ``/var/tmp`` than ``/tmp``, which is memory on some systems."""
    usual = Path("/var/tmp")
    return str(usual) if "TMPDIR" not in os.environ and os.access(usual, os.W_OK) else None


def load(weights: Weights) -> Arrays:
    """Decodes named arrays, as views of the weights that cannot be written to.

    Raises
    ------
    ModelError
        If they are not safetensors.
    NotFiniteError
        If a value is not a finite number.
    """
    data = np.asarray(weights)
    header, start = _header(data)
    body = data[start:]
    arrays: Arrays = {}
    expected = 0
    try:
        described = sorted(
            ((name, item) for name, item in header.items() if name != "__metadata__"),
            key=lambda pair: pair[1]["data_offsets"],
        )
        for name, item in described:
            kind, shape = item["dtype"], tuple(item["shape"])
            first, end = item["data_offsets"]
            if not all(isinstance(it, int) and it >= 0 for it in (*shape, first, end)):
                raise ValueError(f"tensor {name!r} has impossible bounds")
            # No byte is left out and none belongs to two, or weights of one model had many digests.
            if first != expected or end > len(body):
                raise ValueError(f"tensor {name!r} does not begin where the one before ends")
            expected = end
            arrays[name] = _tensor(body[first:end], kind, shape)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _not_safetensors(error) from error
    if expected != len(body):
        raise _not_safetensors("bytes are left over")
    for name, array in arrays.items():
        if not _is_finite(array):
            raise NotFiniteError(f"tensor {name!r} has values that are not finite numbers")
    return arrays


def metadata(weights: Weights) -> dict[str, str]:
    """The words that go with the arrays; none if there are none.

    Raises
    ------
    ModelError
        If the weights are not safetensors.
    """
    header, _ = _header(np.asarray(weights))
    words = header.get("__metadata__", {})
    if not isinstance(words, dict):
        raise _not_safetensors("its words are none")
    return {str(name): str(word) for name, word in words.items()}


def check_like(arrays: Mapping[str, npt.NDArray[Any]], expected: Mapping[str, Any]) -> None:
    """Checks that arrays have the names, shapes and kinds of others.

    Raises
    ------
    ModelError
        Says which tensor differs, and how.
    """
    if set(arrays) != set(expected):
        missing = sorted(set(expected) - set(arrays))[:5]
        extra = sorted(set(arrays) - set(expected))[:5]
        raise ModelError(f"the weights are of another model: without {missing}, and with {extra}")
    for name, array in arrays.items():
        own = expected[name]
        if array.shape != own.shape or array.dtype.kind != own.dtype.kind:
            raise ModelError(
                f"tensor {name!r} is {array.dtype} {array.shape}, "
                f"this learner's model has {own.dtype} {own.shape}"
            )


def _header(data: npt.NDArray[np.uint8]) -> tuple[dict[str, Any], int]:
    """The header, and where the arrays begin."""
    length = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or length > len(data) - 8:
        raise _not_safetensors("no header")
    try:
        header = json.loads(data[8 : 8 + length].tobytes())
    except (ValueError, RecursionError) as error:
        raise _not_safetensors(error) from error
    if not isinstance(header, dict):
        raise _not_safetensors("no header")
    return header, 8 + length


def _tensor(data: npt.NDArray[np.uint8], kind: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if kind == "BF16":
        # The upper half of a float of 32 bits.
        halves = np.frombuffer(data.data, "<u2")
        return (halves.astype(np.uint32) << 16).view(np.float32).reshape(shape)
    array = np.frombuffer(data.data, np.dtype(_TYPES[kind]))
    return array.reshape(shape)


def _is_finite(array: npt.NDArray[Any]) -> bool:
    if array.dtype.kind not in "fc":
        return True
    flat = array.reshape(-1)
    # In pieces: what is looked at needs memory of its own.
    pieces = range(0, flat.size, _PIECE)
    return all(bool(np.isfinite(flat[at : at + _PIECE]).all()) for at in pieces)


def _not_safetensors(why: object) -> ModelError:
    return ModelError(f"the weights are not in the safetensors format: {why}")
