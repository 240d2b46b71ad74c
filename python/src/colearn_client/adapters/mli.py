"""Classes written for the original interface, with five methods named ``mli_...``."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np

from .. import arrays
from .._core import Weights
from ..errors import ModelError
from ..learner import SAFETENSORS, Pass, Proposal, Score
from .base import is_finite

PICKLE = "application/x-colearn-legacy"


class MliLearner:
    """A learner around any object with ``mli_propose_weights``, ``mli_test_weights``,
    ``mli_accept_weights``, ``mli_get_current_weights`` and ``mli_get_current_model``, unchanged.

    Its weights may be an array, a list of arrays, or a dict of arrays or tensors (a state dict); they
    become safetensors. Its ``test`` gives ``vote_score``, ``test_score`` and ``vote``.

    Parameters
    ----------
    mli
        The object.
    trust_pickle
        Allow weights that only pickles can hold. Whoever proposes a pickle can execute
        code in every learner that votes on it: only for members that trust each other with that.
    """

    def __init__(self, mli: Any, *, trust_pickle: bool = False) -> None:
        self.mli = mli
        self._trust_pickle = trust_pickle
        payload = mli.mli_get_current_weights()
        pickled = _named(getattr(payload, "weights", payload)) is None
        self.media_type = PICKLE if pickled else SAFETENSORS
        if trust_pickle:
            warnings.warn(
                "trust_pickle=True: whoever proposes weights in this experiment can execute code "
                "on this machine",
                stacklevel=2,
            )

    def propose(self) -> Proposal | Pass:
        """Asks the object to propose."""
        weights = self._encode(self.mli.mli_propose_weights())
        return Proposal(weights) if is_finite(self, weights) else Pass(reason="not_finite")

    def test(self, weights: Weights) -> Score:
        """Asks the object to score weights."""
        judged = self.mli.mli_test_weights(self._decode(weights))
        test = getattr(judged, "test_score", None)
        return Score(
            float(judged.vote_score),
            approve=bool(judged.vote),
            test=None if test is None else float(test),
            reason=None if judged.vote else "worse",
        )

    def accept(self, weights: Weights) -> None:
        """Gives the object new current weights."""
        self.mli.mli_accept_weights(self._decode(weights))

    def current(self) -> Weights:
        """The object's current weights."""
        return self._encode(self.mli.mli_get_current_weights())

    def _encode(self, wrapped: Any) -> Weights:
        payload = getattr(wrapped, "weights", wrapped)
        named = _named(payload)
        if named is not None:
            return arrays.save(named, {"mli": _kind(payload)})
        if self._trust_pickle:
            return Weights(pickle.dumps(payload))
        raise ModelError(
            f"weights of {type(payload).__name__} are neither arrays nor a dict or list of them; only "
            "a pickle could hold them, which can execute code. trust_pickle=True allows that among "
            "members that trust each other"
        )

    def _decode(self, weights: Weights) -> Any:
        own = self.mli.mli_get_current_weights()
        payload = getattr(own, "weights", own)
        if _named(payload) is None:
            if not self._trust_pickle:
                raise ModelError("these weights are a pickle, which is not loaded")
            decoded = pickle.loads(weights.data)
        else:
            loaded = arrays.load(weights)
            arrays.check_like(loaded, arrays.load(self._encode(own)))
            decoded = _like(payload, loaded)
        if own is payload:
            return decoded
        # The original wraps weights in a class of its own, with this field.
        return type(own)(weights=decoded)


def _kind(payload: Any) -> str:
    if isinstance(payload, dict):
        return "dict"
    return "list" if isinstance(payload, list | tuple) else "array"


def _array(value: Any) -> np.ndarray[Any, Any] | None:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, int | float):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in "biuf":
        return None
    return np.asarray(value)


def _named(payload: Any) -> dict[str, Any] | None:
    """The arrays in weights, by name; ``None`` if there is anything else in them."""
    if isinstance(payload, dict):
        items = [(str(name), _array(value)) for name, value in payload.items()]
    elif isinstance(payload, list | tuple):
        items = [(f"{at:05}", _array(value)) for at, value in enumerate(payload)]
    else:
        items = [("weights", _array(payload))]
    if not items or any(value is None for _, value in items):
        return None
    return dict(items)


def _like(payload: Any, loaded: arrays.Arrays) -> Any:
    """Loaded arrays in the form of an object's own weights."""

    def like(own: Any, array: Any) -> Any:
        if hasattr(own, "detach"):
            import torch

            return torch.from_numpy(np.array(array))
        return np.array(array)

    if isinstance(payload, dict):
        return type(payload)((name, like(own, loaded[str(name)])) for name, own in payload.items())
    if isinstance(payload, list | tuple):
        return type(payload)(like(own, loaded[f"{at:05}"]) for at, own in enumerate(payload))
    return like(payload, loaded["weights"])
