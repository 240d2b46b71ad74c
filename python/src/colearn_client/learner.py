"""What a learner is: the same methods as in Rust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ._core import Weights

SAFETENSORS = "application/x-safetensors"

#: Why one passes, votes against or abstains, as it is recorded.
Reason = Literal[
    "worse", "not_finite", "too_little_data", "cap_reached", "policy", "failed", "unavailable"
]


@dataclass(frozen=True)
class Score:
    """A learner's judgement of some weights on its own data.

    Attributes
    ----------
    vote : float
        The score that the judgement is based on; NaN to record none.
    approve : bool or None
        Whether the weights should become the global model; ``None`` to abstain.
    test : float or None
        The score on data that decides nothing, if the learner keeps any.
    reason : Reason or None
        Why not, if there is something to say.
    """

    vote: float
    approve: bool | None
    test: float | None = None
    reason: Reason | None = None


@dataclass(frozen=True)
class Scored:
    """Weights, and what a learner's ``test`` has found them to be worth."""

    weights: Weights
    score: Score


@dataclass(frozen=True)
class Proposal:
    """New weights, about which nothing is stated."""

    weights: Weights


@dataclass(frozen=True)
class PrivacySegment:
    """Steps of DP-SGD with the same settings.

    Attributes
    ----------
    noise_multiplier : float
        The noise's standard deviation over the clipping norm.
    clip : float
        The norm that each example's gradient was clipped to.
    sampling_rate : float
        The probability of each example to be in a batch.
    steps : int
        How many steps were taken.
    """

    noise_multiplier: float
    clip: float
    sampling_rate: float
    steps: int


@dataclass(frozen=True)
class PrivateProposal:
    """New weights, and what this training took. What all of them have revealed is accounted for by
    whoever runs the learner, and stated with the proposal."""

    weights: Weights
    segment: PrivacySegment


@dataclass(frozen=True)
class Privacy:
    """What the next training takes.

    Attributes
    ----------
    segment : PrivacySegment
        Its steps, as they are planned.
    delta : float
        The δ that ε is stated for.
    max_epsilon : float or None
        The ε beyond which this learner proposes no more; ``None`` for no limit of its own.
    """

    segment: PrivacySegment
    delta: float = 1e-5
    max_epsilon: float | None = None


@dataclass(frozen=True)
class Pass:
    """No proposal: the turn is given up.

    Attributes
    ----------
    exhausted : bool
        For good: the privacy budget is spent. The learner still votes.
    reason : Reason or None
        Why, if there is something to say.
    """

    exhausted: bool = False
    reason: Reason | None = None


class Learner(Protocol):
    """A participant with private data. Implement this, or use an adapter.

    More members are looked for and may be left out: ``media_type``, the kind of weights where
    it is not safetensors, and ``privacy()``, which says what the next training takes of a learner
    that trains privately (:class:`Privacy`), and makes :class:`PrivateProposal` what it proposes.

    Two more are asked in merged rounds only. They serve where the score is coarse, such as an accuracy
    on few rows, and a loss would tell more:

    ``measure(scored: Scored) -> float``
        How good weights are, as finely as this learner can tell: how that has swung from model to
        model decides what it can bear. It is never recorded. Without it, it is the score's ``vote``.
    ``prefer(guarded: Scored, open: Scored) -> bool``
        Whether, of the two merges of a round, the guarded one is better. Without it, it is if its
        score's ``vote`` is higher.

    An exception in ``measure`` leaves the decision to the score's ``approve``, and one in ``prefer``
    prefers nothing.
    """

    def propose(self) -> Proposal | PrivateProposal | Pass:
        """Trains on private data from the current weights, without changing them. An exception gives
        up the turn."""

    def test(self, weights: Weights) -> Score:
        """Scores weights on private data, without changing the current ones. An exception counts as
        a vote against them."""

    def accept(self, weights: Weights) -> None:
        """Takes weights as the current ones. An exception ends the run: they do not fit."""

    def current(self) -> Weights:
        """The current weights. One that has none yet, and takes the experiment's, raises
        :class:`~colearn_client.errors.ModelError`."""
