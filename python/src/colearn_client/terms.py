"""The terms under which one joins, as one digest (R53)."""

from __future__ import annotations

import hashlib

from ._proto import coordinator_pb2 as coordinator
from ._proto import types_pb2 as types


def terms(experiment: coordinator.Experiment) -> bytes:
    """The digest of an experiment's version, creator, rules and admission: what its node says that they
    are must be what is joined. The layout is at ``terms`` in the contract's crate."""
    parameters = experiment.parameters
    data = b"colearn/v2/terms\n" + _u32(experiment.contract_version or 1) + experiment.creator
    data += _parameters(parameters) + _admission(parameters)
    return hashlib.sha256(data).digest()


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _maybe(data: bytes | None) -> bytes:
    return b"\0" if data is None else b"\1" + data


def _fraction(fraction: types.Fraction) -> bytes:
    return _u32(fraction.numerator) + _u32(fraction.denominator) + bytes([fraction.strict])


def _parameters(rules: types.Parameters) -> bytes:
    cap = rules.privacy
    governance = rules.governance_threshold
    return b"".join(
        [
            _fraction(rules.threshold),
            bytes([rules.selection]),
            _u64(rules.proposal_deadline_ms),
            _u64(rules.vote_deadline_ms),
            _u64(rules.reveal_deadline_ms or 600_000),
            bytes([rules.close]),
            bytes([rules.ballot]),
            _u32(rules.min_learners),
            _maybe(_u64(rules.max_rounds) if rules.HasField("max_rounds") else None),
            _maybe(_u64(rules.patience) if rules.HasField("patience") else None),
            _maybe(_u32(rules.missed_turns) if rules.missed_turns else None),
            _maybe(_u32(rules.idle_rotations) if rules.idle_rotations else None),
            _maybe(
                _u64(cap.epsilon_micros) + _u64(cap.delta_picos) if rules.HasField("privacy") else None
            ),
            _u64(rules.max_weights_bytes),
            _maybe(_fraction(governance) if rules.HasField("governance_threshold") else None),
            _u64(rules.motion_deadline_ms or 604_800_000),
            bytes([not rules.stop_needs_motion]),
        ]
    )


def _admission(rules: types.Parameters) -> bytes:
    kind = rules.WhichOneof("admission")
    data = bytes([{"open": 0, "invited": 1, "by_vote": 2}[kind or "open"]])
    listed = types.InvitedAdmission() if kind in (None, "open") else getattr(rules, kind)
    data += _u32(len(listed.learners))
    judges = set(listed.judges)
    for place, learner in enumerate(listed.learners):
        weight = listed.weights[place] if listed.weights else 1
        name = (listed.names[place] if listed.names else "").encode()
        data += learner + _u32(weight) + bytes([place in judges])
        data += len(name).to_bytes(2, "big") + name
    return data
