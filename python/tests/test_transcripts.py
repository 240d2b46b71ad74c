"""What learners are called for, in which order and with what, and what is recorded of their answers.

The same as of learners in Rust: ``sdk/tests/transcripts.rs`` runs the same transcripts there.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import ROOT

from colearn_client import (
    Experiment,
    Pass,
    Privacy,
    PrivacySegment,
    PrivateProposal,
    Proposal,
    Round,
    Score,
    Weights,
    run_local,
)
from colearn_client.errors import NotFiniteError

CASES = json.loads((ROOT / "sdk" / "tests" / "transcripts.json").read_text())
#: By digest.
TEXTS = {Weights(text.encode()).digest.hex(): text for text in "0123456789"}


class Scripted:
    """A learner that answers as its transcript says."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._current = Weights(told["begins"].encode())
        self._proposes, self._judges = iter(told["proposes"]), told["judges"]
        self.calls: list[str] = []

    def propose(self) -> Proposal | PrivateProposal | Pass:
        self.calls.append("propose")
        told = next(self._proposes)
        complain(told)
        if "weights" not in told:
            return Pass(told.get("exhausted", False), told.get("pass"))
        weights = Weights(told["weights"].encode())
        return (
            PrivateProposal(weights, segment(told["segment"]))
            if "segment" in told
            else Proposal(weights)
        )

    def test(self, weights: Weights) -> Score:
        self.calls.append(f"test {weights.data.decode()}")
        told = self._judges[weights.data.decode()]
        complain(told)
        test = told.get("test")
        return Score(
            float(told["vote"]),
            told["approve"],
            test=None if test is None else float(test),
            reason=told.get("reason"),
        )

    def accept(self, weights: Weights) -> None:
        self.calls.append(f"accept {weights.data.decode()}")
        self._current = weights

    def current(self) -> Weights:
        return self._current


class Private(Scripted):
    """The same, of a learner that trains privately."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(told)
        said = told["privacy"]
        most = said["max_epsilon_micros"]
        self._privacy = Privacy(
            segment(said["segment"]), said["delta_picos"] / 1e12, None if most is None else most / 1e6
        )

    def privacy(self) -> Privacy:
        self.calls.append("privacy")
        return self._privacy


def complain(told: dict[str, Any]) -> None:
    if "raises" in told:
        raise NotFiniteError(told["raises"]) if "reason" in told else RuntimeError(told["raises"])


def segment(told: dict[str, int]) -> PrivacySegment:
    return PrivacySegment(
        told["noise_micros"] / 1e6,
        told["clip_micros"] / 1e6,
        told["sampling_nanos"] / 1e9,
        told["steps"],
    )


def told_of(experiment: Experiment, item: Round) -> dict[str, Any]:
    """A round in the words of the transcripts."""
    number = {learner: at + 1 for at, learner in enumerate(experiment.learners)}
    return {
        "proposer": number[item.proposer],
        "weights": None if item.weights is None else TEXTS[item.weights],
        "scores": None if item.weights is None else [item.vote_score, item.test_score],
        "verdict": item.verdict,
        "reason": item.reason,
        "votes": {
            str(number[vote.voter]): {
                "approve": vote.approve,
                "reason": vote.reason,
                "scores": [vote.vote_score, vote.test_score],
            }
            for vote in item.votes
        },
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_learners_are_called_and_understood_as_those_in_rust(case) -> None:
    learners = [Private(it) if "privacy" in it else Scripted(it) for it in case["learners"]]
    ran = run_local(learners, case["plan"])
    assert [learner.calls for learner in learners] == case["calls"]
    assert [told_of(ran, item) for item in ran.rounds] == case["rounds"]
