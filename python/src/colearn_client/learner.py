"""What a learner is: the same four methods as in Rust."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Protocol

from ._proto import types_pb2 as types

SAFETENSORS = "application/x-safetensors"


@dataclass(frozen=True)
class Weights:
    """The bytes of a model, with their digest.

    Attributes:
        data: The bytes, in the format that the experiment's media type says.
        digest: Their SHA-256, 32 bytes.
    """

    data: bytes
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.data).digest())

    def __repr__(self) -> str:
        return f"Weights({len(self.data)} bytes, {self.digest.hex()[:16]})"


@dataclass(frozen=True)
class Score:
    """A learner's judgement of some weights on its own data.

    Attributes:
        vote: The score that the judgement is based on; NaN to record none.
        approve: Whether the weights should become the global model.
        test: The score on data that decides nothing, if the learner keeps any.
    """

    vote: float
    approve: bool
    test: float | None = None

    def message(self) -> types.Scores:
        """As recorded: in micro-units, absent where it is not a finite number."""
        return types.Scores(vote=_micro(self.vote), test=_micro(self.test))


def _micro(value: float | None) -> int | None:
    if value is None or not math.isfinite(value):
        return None
    # Halves away from zero, and clamped to what fits, as in Rust.
    scaled = math.copysign(math.floor(abs(value * 1e6) + 0.5), value)
    return int(max(-(2.0**63), min(scaled, 2.0**63 - 1024)))


@dataclass(frozen=True)
class PrivacySpent:
    """What a learner's proposals have revealed so far, the present one included.

    Attributes:
        epsilon: ε so far.
        delta: The δ of that ε.
        noise_multiplier: The noise's standard deviation over the clipping norm.
        clip: The norm that each example's gradient was clipped to.
        sampling_rate: The probability of each example to be in a batch.
        steps: How many steps were taken so far.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    clip: float
    sampling_rate: float
    steps: int

    def message(self) -> types.PrivacySpent:
        """In fixed point, rounded against oneself."""
        return types.PrivacySpent(
            epsilon_micros=min(math.ceil(self.epsilon * 1e6), 2**63) if self.epsilon < 1e12 else 2**63,
            delta_picos=math.ceil(self.delta * 1e12),
            noise_micros=math.floor(self.noise_multiplier * 1e6),
            clip_micros=math.ceil(self.clip * 1e6),
            sampling_nanos=min(math.ceil(self.sampling_rate * 1e9), 1_000_000_000),
            steps=self.steps,
        )


@dataclass(frozen=True)
class Proposal:
    """New weights, and what they reveal if the learner trains privately."""

    weights: Weights
    privacy: PrivacySpent | None = None


@dataclass(frozen=True)
class Pass:
    """No proposal: the turn is given up.

    Attributes:
        exhausted: For good: the privacy budget is spent. The learner still votes.
    """

    exhausted: bool = False


class Learner(Protocol):
    """A participant with private data. Implement this, or use an adapter."""

    def propose(self) -> Proposal | Pass:
        """Trains on private data from the current weights, without changing them."""

    def test(self, weights: Weights) -> Score:
        """Scores weights on private data, without changing the current ones. An exception counts as
        a vote against them."""

    def accept(self, weights: Weights) -> None:
        """Takes weights as the current ones."""

    def current(self) -> Weights:
        """The current weights."""
