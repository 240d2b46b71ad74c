"""Weights as named arrays: safetensors, which cannot execute code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from .errors import ModelError, NotFiniteError
from .learner import Weights

Arrays = dict[str, npt.NDArray[Any]]
_MAX_HEADER = 100_000_000


def save(arrays: Mapping[str, npt.ArrayLike], metadata: Mapping[str, str] | None = None) -> Weights:
    """Encodes named arrays.

    Args:
        arrays: The arrays, of any shape and numeric type.
        metadata: Words to go with them.
    """
    # Not ascontiguousarray, which makes a row of one out of a single number.
    tensors = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    data = safetensors.numpy.save(tensors, dict(metadata) if metadata else None)
    return Weights(data)


def load(weights: Weights) -> Arrays:
    """Decodes named arrays.

    Raises:
        ModelError: If they are not safetensors.
        NotFiniteError: If a value is not a finite number.
    """
    try:
        arrays: Arrays = safetensors.numpy.load(weights.data)
    except Exception as error:
        raise ModelError(f"the weights are not in the safetensors format: {error}") from error
    for name, array in arrays.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise NotFiniteError(f"tensor {name!r} has values that are not finite numbers")
    return arrays


def metadata(weights: Weights) -> dict[str, str]:
    """The words that go with the arrays; none if there are none.

    Raises:
        ModelError: If the weights are not safetensors.
    """
    data = weights.data
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, _MAX_HEADER):
        raise ModelError("the weights are not in the safetensors format: no header")
    try:
        header = json.loads(data[8 : 8 + length])
        words = header.get("__metadata__", {})
        return {str(name): str(word) for name, word in words.items()}
    except (ValueError, AttributeError) as error:
        raise ModelError(f"the weights are not in the safetensors format: {error}") from error


def check_like(arrays: Mapping[str, npt.NDArray[Any]], expected: Arrays) -> None:
    """Checks that arrays have the names, shapes and kinds of others.

    Raises:
        ModelError: Says which tensor differs, and how.
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
