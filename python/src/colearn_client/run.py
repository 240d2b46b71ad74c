"""The loop that runs a learner on a ledger: watch, propose, test, vote, accept."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import keys
from ._proto import coordinator_pb2 as coordinator
from ._proto import types_pb2 as types
from .connection import Client, is_transient
from .errors import (
    ColearnError,
    ModelError,
    RefusedError,
    UnreachableError,
    UnseatedError,
)
from .learner import SAFETENSORS, Learner, Pass, Score, Weights
from .memory import Memory
from .transaction import commitment

_LOG = logging.getLogger("colearn_client")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


@dataclass(frozen=True)
class Summary:
    """What a finished run leaves.

    Attributes:
        reason: Why the experiment ended: ``max_rounds``, ``stopped`` or ``patience``.
        model: SHA-256 of the final global model, in hexadecimal.
        rounds: How many rounds were opened.
    """

    reason: str
    model: str
    rounds: int


@dataclass(frozen=True)
class Event:
    """What happens to a running learner.

    Attributes:
        kind: ``connected``, ``joined``, ``my_turn``, ``proposed``, ``passed``, ``voted``,
            ``committed``, ``round_closed``, ``waiting``, ``paused``, ``resumed``, ``suspended``,
            ``motion_opened``, ``too_late``, ``reconnecting`` or ``finished``.
        text: The same for people.
        round: The round, if it is about one.
    """

    kind: str
    text: str
    round: int | None = None


def run(
    learner: Learner,
    node: str,
    experiment: str,
    key: str | os.PathLike[str] | Ed25519PrivateKey,
    *,
    data: str | os.PathLike[str] | None = None,
    patience: float | None = None,
    watch: Callable[[Event], None] | None = None,
    progress: bool = True,
) -> Summary:
    """Runs a learner in an experiment until that finishes.

    Joins if need be, proposes in its turn, votes on what others propose, and accepts what is
    accepted. A lost connection is made again; after a restart of either side it goes on where the
    ledger stands, without voting twice. Ctrl-C leaves at any time; run again to go on.

    Args:
        learner: Anything with ``propose``, ``test``, ``accept`` and ``current``.
        node: The node's address, such as ``http://127.0.0.1:7400``.
        experiment: The experiment's name.
        key: The learner's private key, or the file with it (made if there is none).
        data: Where to remember what must survive a restart. By default the key file's name with
            ``.data``; with a key that is no file, nothing is remembered.
        patience: Give up when the node cannot be reached for so many seconds; ``None`` for never.
        watch: Told what happens.
        progress: Whether to print what happens, if stderr is a terminal.

    Returns:
        Why it ended, and the final model.

    Raises:
        ColearnError: If the learner is not admitted, cannot take the model, or the node cannot be
            trusted.
    """
    if isinstance(key, Ed25519PrivateKey):
        private = key
    else:
        private = keys.load_or_create(key)
        data = data if data is not None else Path(key).with_suffix(".data")
    show = progress and sys.stderr.isatty()

    def tell(kind: str, text: str, round_: int | None = None) -> None:
        if show:
            print(text, file=sys.stderr)
        if watch is not None:
            watch(Event(kind, text, round_))

    running = _Run(learner, experiment, private, Memory(data), tell)
    pause, reached = _FIRST_PAUSE, time.monotonic()
    while True:
        try:
            with Client(node, running.memory) as client:
                tell("connected", f"connected to {client.url}")
                pause, reached = _FIRST_PAUSE, time.monotonic()
                return running.session(client)
        except (UnreachableError, RefusedError) as error:
            if not is_transient(error):
                raise
            if patience is not None and time.monotonic() - reached > patience:
                raise
            tell("reconnecting", f"{error}; trying again in {pause:.2f} s")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


_OPEN, _COMMIT, _REVEAL = coordinator.STAGE_OPEN, coordinator.STAGE_COMMIT, coordinator.STAGE_REVEAL


class _Run:
    def __init__(
        self,
        learner: Learner,
        experiment: str,
        key: Ed25519PrivateKey,
        memory: Memory,
        tell: Callable[..., None],
    ) -> None:
        self.learner = learner
        self.name = experiment
        self.key = key
        self.me = keys.public_bytes(key)
        self.memory = memory
        self.tell = tell
        self._recent: deque[Weights] = deque(maxlen=2)

    # Where the experiment stands, as far as a learner has to know.
    round: int
    model: types.Model
    # "proposing", "voting", "finished" or "idle".
    phase: str
    proposer: bytes
    proposal: types.Model
    stage: int
    reason: int

    def session(self, client: Client) -> Summary:
        """Takes part over one connection, until the experiment ends or the connection does."""
        self.client = client
        known = self._join()
        if (
            known.experiment.phase == coordinator.PHASE_PAUSED
            and known.experiment.pause_reason == types.PAUSE_REASON_NOBODY_PROPOSES
        ):
            known = self._resume(known)
        self._stand(known)
        expected = getattr(self.learner, "media_type", SAFETENSORS)
        if self.model.media_type != expected:
            raise ModelError(
                f"the experiment's weights are {self.model.media_type}, this learner's {expected}; "
                "learners of the original package take part through: colearn bridge"
            )
        self._accept(self.model)
        watching = client.watch(self.name, known.size)
        while True:
            if self.phase == "finished":
                reason = types.FinishReason.Name(self.reason)
                reason = reason.removeprefix("FINISH_REASON_").lower()
                self.tell("finished", f"finished: {reason}")
                return Summary(reason, self.model.digest.hex(), self.round)
            try:
                self._act()
            except RefusedError as error:
                if not error.stale:
                    raise
                self.tell("too_late", f"too late: {error}", self.round)
            message = next(watching, None)
            if message is None:
                raise UnreachableError(client.url, "the stream ended")
            if message.HasField("entry"):
                self._follow(types.Entry.FromString(message.entry))

    def _join(self) -> coordinator.GetExperimentResponse:
        known = self.client.experiment(self.name, self.me)
        seats = (coordinator.SEAT_JOINING, coordinator.SEAT_SEATED, coordinator.SEAT_LEAVING)
        member = known.member if known.HasField("member") else None
        if known.experiment.phase == coordinator.PHASE_FINISHED:
            return known
        if member is not None and member.seat in seats:
            return known
        term = member.term + 1 if member is not None else 0
        join = types.JoinExperiment(experiment=self.name, term=term)
        self.client.act(self.key, types.Transaction(join_experiment=join))
        self.tell("joined", "joined")
        return self.client.experiment(self.name, self.me)

    def _resume(self, known: coordinator.GetExperimentResponse) -> coordinator.GetExperimentResponse:
        resume = types.ResumeExperiment(experiment=self.name, round=known.experiment.round)
        try:
            self.client.act(self.key, types.Transaction(resume_experiment=resume))
            self.tell("resumed", "resumed")
        except RefusedError as error:
            # Another may have been faster.
            if not error.stale:
                raise
        return self.client.experiment(self.name, self.me)

    def _stand(self, known: coordinator.GetExperimentResponse) -> None:
        experiment = known.experiment
        self.round, self.model = experiment.round, experiment.model
        self.proposer, self.stage = bytes(experiment.proposer), experiment.stage
        self.proposal, self.reason = experiment.weights, experiment.finish_reason
        self.phase = {
            coordinator.PHASE_PROPOSING: "proposing",
            coordinator.PHASE_VOTING: "voting",
            coordinator.PHASE_FINISHED: "finished",
        }.get(experiment.phase, "idle")
        member = known.member if known.HasField("member") else None
        self.votes_from = member.last_vote + 1 if member is not None else 0
        if member is not None and member.seat == coordinator.SEAT_JOINING:
            self.votes_from = experiment.round + 1
        self.unrevealed = (
            member is not None and member.unrevealed and member.last_vote == experiment.round
        )
        self._rules(experiment)

    def _rules(self, experiment: coordinator.Experiment) -> None:
        parameters = experiment.parameters
        self.sealed = parameters.ballot == types.BALLOT_KIND_SEALED
        self.cap = parameters.privacy if parameters.HasField("privacy") else None

    def _act(self) -> None:
        if self.phase == "proposing" and self.proposer == self.me:
            # Whatever becomes of it, the turn is not taken twice.
            self.phase = "idle"
            self._take_turn()
        elif self.phase == "voting" and self.proposer != self.me:
            if self.stage == _REVEAL and self.unrevealed:
                self.unrevealed = False
                self._reveal()
            elif self.stage in (_OPEN, _COMMIT) and self.votes_from <= self.round:
                self.votes_from = self.round + 1
                self.unrevealed = self.stage == _COMMIT
                self._vote()

    def _take_turn(self) -> None:
        if self._send_again(("propose", self.name, self.round, b"")):
            return
        self.tell("my_turn", f"round {self.round}: my turn, training", self.round)
        score: Score | None = None
        reason = ""
        proposed: object
        try:
            proposed = self.learner.propose()
            if not isinstance(proposed, Pass):
                privacy = proposed.privacy.message() if proposed.privacy is not None else None
                # What the cap does not allow is not even tried.
                if (
                    self.cap is not None
                    and privacy is not None
                    and not (
                        privacy.epsilon_micros <= self.cap.epsilon_micros
                        and privacy.delta_picos <= self.cap.delta_picos
                    )
                ):
                    proposed = Pass(exhausted=True)
                else:
                    score = self.learner.test(proposed.weights)
        except ColearnError:
            raise
        except Exception as error:
            _LOG.warning("passing the turn", exc_info=True)
            proposed, reason = Pass(), f", because: {error}"
        if isinstance(proposed, Pass):
            exhausted = proposed.exhausted
            reason = ", because: the privacy budget is spent" if exhausted else reason
            action = types.Transaction()
            # `pass` is no name in Python.
            message = types.Pass(experiment=self.name, round=self.round, exhausted=exhausted)
            getattr(action, "pass").CopyFrom(message)
            self._sign_and_submit(action)
            self.tell("passed", f"round {self.round}: passed{reason}", self.round)
            return
        assert score is not None
        weights = proposed.weights
        self.client.upload(weights)
        self._recent.append(weights)
        proposal = types.Propose(
            experiment=self.name,
            round=self.round,
            base=self.model.digest,
            weights=types.Model(
                digest=weights.digest, size=len(weights.data), media_type=self.model.media_type
            ),
            scores=score.message(),
            privacy=privacy,
        )
        self._sign_and_submit(types.Transaction(propose=proposal))
        self.tell("proposed", f"round {self.round}: proposed, {_scores(score)}", self.round)

    def _vote(self) -> None:
        digest = bytes(self.proposal.digest)
        if self._send_again(("vote", self.name, self.round, digest)):
            return
        reveal = self.memory.sealed_for(self.round, digest) if self.stage == _COMMIT else None
        if reveal is not None:
            # Sealed before a restart, but not committed to.
            return self._commit(reveal)
        weights = self._fetch(self.proposal)
        try:
            score = self.learner.test(weights)
        except Exception as error:
            # What cannot be scored is not approved.
            _LOG.warning("voting against weights that cannot be scored: %s", error)
            score = Score(float("nan"), approve=False)
        vote = types.Vote(
            experiment=self.name,
            round=self.round,
            weights=digest,
            approve=bool(score.approve),
            scores=score.message(),
        )
        if self.stage == _COMMIT:
            reveal = types.Reveal(vote=vote, salt=secrets.token_bytes(32))
            self.memory.keep_sealed(reveal)
            return self._commit(reveal)
        self._sign_and_submit(types.Transaction(vote=vote))
        word = "approved" if score.approve else "rejected"
        self.tell("voted", f"round {self.round}: {word}, {_scores(score)}", self.round)

    def _commit(self, reveal: types.Reveal) -> None:
        vote = reveal.vote
        sealed = commitment(self.client.ledger_id, self.me, vote, reveal.salt)
        commit = types.Commit(
            experiment=self.name, round=vote.round, weights=vote.weights, commitment=sealed
        )
        self._sign_and_submit(types.Transaction(commit=commit))
        self.tell("committed", f"round {vote.round}: committed to a sealed vote", vote.round)

    def _reveal(self) -> None:
        reveal = self.memory.sealed_for(self.round, bytes(self.proposal.digest))
        if reveal is None:
            _LOG.warning("the sealed ballot of round %d is not in the data folder", self.round)
            return
        # Not remembered as signed: revealing again says nothing else.
        self.client.act(self.key, types.Transaction(reveal=reveal))
        word = "approved" if reveal.vote.approve else "rejected"
        self.tell("voted", f"round {self.round}: {word}", self.round)

    def _send_again(self, turn: tuple[str, str, int, bytes]) -> bool:
        signed = self.memory.signed_for(turn)
        if signed is not None:
            self.client.submit(signed)
        return signed is not None

    def _sign_and_submit(self, action: types.Transaction) -> None:
        signed = self.client.sign(self.key, action)
        self.memory.keep_signed(signed)
        self.client.submit(signed)

    def _follow(self, entry: types.Entry) -> None:
        """Follows an entry of the experiment."""
        kind = entry.WhichOneof("payload")
        if kind == "transaction":
            action = types.Transaction.FromString(entry.transaction.body)
            if action.WhichOneof("action") == "propose":
                self.phase, self.proposal = "voting", action.propose.weights
                self.proposer = bytes(entry.transaction.public_key)
                self.stage = _COMMIT if self.sealed else _OPEN
        elif kind == "outcome":
            self._decided(entry.outcome)

    def _decided(self, outcome: types.Outcome) -> None:
        kind = outcome.WhichOneof("decision")
        if kind == "round_opened":
            self.round, self.phase = outcome.round_opened.round, "proposing"
            self.proposer = bytes(outcome.round_opened.proposer)
        elif kind == "round_closed":
            closed = outcome.round_closed
            voting, self.phase = self.phase == "voting", "idle"
            if voting and closed.verdict == types.VERDICT_ACCEPTED:
                self._accept(self.proposal)
                self.model = self.proposal
            verdict = types.Verdict.Name(closed.verdict).removeprefix("VERDICT_").lower()
            votes = f"{closed.approvals} for, {closed.rejections} against, of {closed.electorate}"
            text = f"round {closed.round}: {verdict} with {votes}"
            self.tell("round_closed", text, closed.round)
        elif kind == "waiting":
            self.phase = "idle"
            waiting = outcome.waiting
            text = f"waiting for members: {waiting.members} of {waiting.min_learners}"
            self.tell("waiting", text)
        elif kind == "paused":
            self.phase = "idle"
            self.tell("paused", "paused")
        elif kind == "reveal_opened":
            self.stage = _REVEAL
        elif kind == "suspended" and outcome.suspended.learner == self.me:
            self.tell("suspended", "suspended")
            if outcome.suspended.reason != types.SUSPEND_REASON_MISSED_TURNS:
                raise UnseatedError(
                    "the members have suspended or expelled this learner; "
                    f"see: colearn experiment show {self.name}"
                )
            # It is here again.
            self._join()
        elif kind == "motion_took_effect":
            self._rules(self.client.experiment(self.name).experiment)
        elif kind == "motion_opened":
            number = outcome.motion_opened.number
            text = f"motion {number} is open; vote: colearn experiment ballot {self.name} {number}"
            self.tell("motion_opened", text)
        elif kind == "finished":
            self.phase, self.reason = "finished", outcome.finished.reason

    def _accept(self, model: types.Model) -> None:
        try:
            if self.learner.current().digest == model.digest:
                return
        except ModelError:
            # It has no model yet.
            pass
        weights = self._fetch(model)
        try:
            self.learner.accept(weights)
        except ColearnError:
            raise
        except Exception as error:
            raise ModelError(f"this learner cannot take the experiment's model: {error}") from error

    def _fetch(self, model: types.Model) -> Weights:
        for weights in self._recent:
            if weights.digest == model.digest:
                return weights
        weights = self.client.download(bytes(model.digest), model.size)
        self._recent.append(weights)
        return weights


def _scores(score: Score) -> str:
    test = f"{score.test:.3f}" if score.test is not None else "-"
    return f"vote score {score.vote:.3f}, test score {test}"


__all__ = ["Event", "Summary", "run"]
