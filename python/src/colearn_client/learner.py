"""What a learner is: the same four methods as in Rust."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from ._proto import types_pb2 as types

SAFETENSORS = "application/x-safetensors"

#: Why one passes, votes against or abstains, as it is recorded.
Reason = Literal[
    "worse", "not_finite", "too_little_data", "cap_reached", "policy", "failed", "unavailable"
]
#: What each reason means, for people.
MEANINGS: dict[Reason, str] = {
    "worse": "the model is worse on this learner's data",
    "not_finite": "the model has weights that are no numbers",
    "too_little_data": "there is too little data here",
    "cap_reached": "this learner has revealed as much as it may",
    "policy": "this learner's own policy",
    "failed": "training or judging failed",
    "unavailable": "the bytes were not to be had in time",
}
#: The most segments that a statement of privacy can have.
MAX_SEGMENTS = 64


def reason_name(reason: Reason | None) -> str:
    """The name of a reason on the wire."""
    return f"REASON_{(reason or 'unspecified').upper()}"


def reason_of(number: int) -> Reason | None:
    """The reason of a number on the wire; ``None`` of none, or of one that a later version knows."""
    named: dict[int, Reason] = {types.Reason.Value(reason_name(it)): it for it in MEANINGS}
    return named.get(number)


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
        approve: Whether the weights should become the global model; ``None`` to abstain.
        test: The score on data that decides nothing, if the learner keeps any.
        reason: Why not, if there is something to say.
    """

    vote: float
    approve: bool | None
    test: float | None = None
    reason: Reason | None = None

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
class PrivacySegment:
    """Steps of DP-SGD with the same settings.

    Attributes:
        noise_multiplier: The noise's standard deviation over the clipping norm.
        clip: The norm that each example's gradient was clipped to.
        sampling_rate: The probability of each example to be in a batch.
        steps: How many steps were taken.
    """

    noise_multiplier: float
    clip: float
    sampling_rate: float
    steps: int

    def message(self) -> types.PrivacySegment:
        """In fixed point, rounded against oneself."""
        return types.PrivacySegment(
            # Half a millionth of a millionth more, so that what was read from fixed point stays it.
            noise_micros=math.floor(self.noise_multiplier * 1e6 + 1e-6),
            clip_micros=math.ceil(self.clip * 1e6 - 1e-6),
            sampling_nanos=min(math.ceil(self.sampling_rate * 1e9 - 1e-6), 1_000_000_000),
            steps=self.steps,
        )


@dataclass(frozen=True)
class PrivacySpent:
    """What a learner's proposals have revealed so far, the present one included.

    Attributes:
        epsilon: ε so far, of all segments together.
        delta: The δ of that ε.
        segments: All that was done, in order.
    """

    epsilon: float
    delta: float
    segments: Sequence[PrivacySegment]

    @property
    def steps(self) -> int:
        """All steps so far."""
        return sum(segment.steps for segment in self.segments)

    def message(self, version: int) -> types.PrivacySpent | None:
        """As an experiment of this version of the rules has it, in fixed point, rounded against
        oneself; ``None`` where it cannot be said: from version 2 on all steps have noise."""
        spent = types.PrivacySpent(
            epsilon_micros=min(math.ceil(self.epsilon * 1e6), 2**63) if self.epsilon < 1e12 else 2**63,
            delta_picos=math.ceil(self.delta * 1e12 - 1e-3),
        )
        segments = [segment.message() for segment in joined(self.segments)]
        if version > 1:
            if not all(segment.noise_micros and segment.clip_micros for segment in segments):
                return None
            spent.segments.extend(segments)
        else:
            last = segments[-1]
            spent.noise_micros, spent.clip_micros = last.noise_micros, last.clip_micros
            spent.sampling_nanos, spent.steps = last.sampling_nanos, self.steps
        return spent

    @classmethod
    def of(cls, message: types.PrivacySpent) -> PrivacySpent:
        """What was stated. Version 1 tells of settings only the last."""
        stated: Sequence[types.PrivacySegment | types.PrivacySpent] = message.segments or [message]
        return cls(
            epsilon=message.epsilon_micros / 1e6,
            delta=message.delta_picos / 1e12,
            segments=tuple(
                PrivacySegment(
                    item.noise_micros / 1e6,
                    item.clip_micros / 1e6,
                    item.sampling_nanos / 1e9,
                    item.steps,
                )
                for item in stated
            ),
        )


def joined(segments: Sequence[PrivacySegment]) -> list[PrivacySegment]:
    """The same, neighbours of the same settings made one."""
    found: list[PrivacySegment] = []
    for segment in segments:
        same = found and replace(found[-1], steps=segment.steps).message() == segment.message()
        if same:
            found[-1] = replace(found[-1], steps=found[-1].steps + segment.steps)
        else:
            found.append(segment)
    return found


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
        reason: Why, if there is something to say.
    """

    exhausted: bool = False
    reason: Reason | None = None


class Learner(Protocol):
    """A participant with private data. Implement this, or use an adapter.

    One that trains privately may also have ``resume(spent: PrivacySpent)``: it is told once, before it
    begins, what its proposals have revealed as the ledger has it, and goes on from there.
    """

    def propose(self) -> Proposal | Pass:
        """Trains on private data from the current weights, without changing them."""

    def test(self, weights: Weights) -> Score:
        """Scores weights on private data, without changing the current ones. An exception counts as
        a vote against them."""

    def accept(self, weights: Weights) -> None:
        """Takes weights as the current ones."""

    def current(self) -> Weights:
        """The current weights."""
