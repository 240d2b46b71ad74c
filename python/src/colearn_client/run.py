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
from .chain import LINKS, next_link
from .connection import CONTRACT_VERSION, Client, is_transient
from .errors import (
    ArtifactError,
    ColearnError,
    MalformedError,
    ModelError,
    RefusedError,
    TermsError,
    UnreachableError,
    UnseatedError,
    VersionError,
)
from .learner import (
    MEANINGS,
    SAFETENSORS,
    Learner,
    Pass,
    PrivacySpent,
    Proposal,
    Reason,
    Score,
    Weights,
    reason_name,
    reason_of,
)
from .memory import Memory
from .terms import terms as terms_of
from .transaction import commitment

_LOG = logging.getLogger("colearn_client")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
# Of the time that is left for something, so much is kept for saying that it was not to be had, but no
# more than this many seconds.
_MARGIN, _LONGEST_MARGIN = 0.1, 30.0
# How often an act is signed again at once because it has become too old.
_RENEWALS = 3
# Rules that a client acts on.
_OTHER_TERMS, _NOT_NEW, _PRIVACY, _TOO_OLD = 53, 60, 42, 71


@dataclass(frozen=True)
class Summary:
    """What a finished run leaves.

    Attributes:
        reason: Why the experiment ended: ``max_rounds``, ``stopped``, ``patience`` or ``abandoned``.
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
    name: str | None = None,
    terms: str | None = None,
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
        name: What the learner calls itself, where its invitation does not say.
        terms: The digest of the terms that were agreed on, in hexadecimal; an experiment with others is
            not joined.
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

    agreed = bytes.fromhex(terms) if terms is not None else None
    running = _Run(learner, experiment, private, Memory(data), tell, (name or "", agreed))
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
        joining: tuple[str, bytes | None],
    ) -> None:
        self.learner = learner
        self.name = experiment
        self.key = key
        self.me = keys.public_bytes(key)
        self.memory = memory
        self.tell = tell
        self.called, self.agreed = joining
        self._recent: deque[Weights] = deque(maxlen=2)
        # Whether the learner was told what its proposals have revealed.
        self._resumed = False
        # How far the ledger's clock is ahead of this machine's, at least, in seconds.
        self._ahead = 0.0
        # What is known to have been the global model, which nobody proposes again.
        self.models: set[bytes] = set()

    # Where the experiment stands, as far as a learner has to know.
    version: int
    round: int
    model: types.Model
    # "proposing", "voting", "finished" or "idle".
    phase: str
    proposer: bytes
    proposal: types.Model
    stage: int
    deadline_ms: int
    reason: int
    chain: coordinator.Chain | None

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
        self._resume_privacy(known)
        self._accept_if_there()
        watching = client.watch(self.name, known.size)
        while True:
            if self.phase == "finished":
                if not self._holds():
                    self._accept(self._fetch(self.model))
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
        while True:
            known = self.client.experiment(self.name, self.me)
            seats = (coordinator.SEAT_JOINING, coordinator.SEAT_SEATED, coordinator.SEAT_LEAVING)
            member = known.member if known.HasField("member") else None
            terms = self._check(known.experiment)
            if known.experiment.phase == coordinator.PHASE_FINISHED:
                return known
            if member is not None and member.seat in seats:
                return known
            if self.agreed is not None and self.agreed != terms:
                raise TermsError(
                    f"the terms of {self.name} are {terms.hex()}, not the {self.agreed.hex()} that "
                    "were agreed on; nothing was joined"
                )
            term = member.term + 1 if member is not None else 0
            join = types.JoinExperiment(experiment=self.name, term=term)
            if _version(known.experiment) > 1:
                join.terms = terms
                join.name = "" if _invited_by_name(known.experiment, self.me) else self.called
            try:
                self.client.act(self.key, types.Transaction(join_experiment=join))
            except RefusedError as error:
                if error.rule != _OTHER_TERMS:
                    raise
                # They have changed meanwhile: it looks again.
                self.tell("too_late", f"too late: {error}")
                continue
            self.tell("joined", "joined")
            return self.client.experiment(self.name, self.me)

    def _check(self, experiment: coordinator.Experiment) -> bytes:
        """The digest of an experiment's terms: that of what is shown, or it would say nothing."""
        version = _version(experiment)
        if version > CONTRACT_VERSION:
            raise VersionError(version)
        terms = terms_of(experiment)
        if version > 1 and experiment.terms != terms:
            raise MalformedError("terms that are not those of the experiment that it shows")
        return terms

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

    def _resume_privacy(self, known: coordinator.GetExperimentResponse) -> None:
        """Tells a learner that is private, once, what its proposals have revealed."""
        resume = getattr(self.learner, "resume", None)
        if resume is not None and not self._resumed and known.member.HasField("privacy"):
            resume(PrivacySpent.of(known.member.privacy))
        self._resumed = True

    def _stand(self, known: coordinator.GetExperimentResponse) -> None:
        experiment = known.experiment
        self.round, self.model = experiment.round, experiment.model
        self.models.add(bytes(self.model.digest))
        self.proposer, self.stage = bytes(experiment.proposer), experiment.stage
        self.proposal, self.reason = experiment.weights, experiment.finish_reason
        self.deadline_ms = experiment.deadline_ms
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
        self.chain = None
        if member is not None and member.HasField("chain"):
            self.chain = member.chain
        self._rules(experiment)

    def _rules(self, experiment: coordinator.Experiment) -> None:
        parameters = experiment.parameters
        self.version = _version(experiment)
        self.sealed = parameters.ballot == types.BALLOT_KIND_SEALED
        # In version 1 proposers are drawn from the ledger itself.
        self.drawn = self.version > 1 and parameters.selection == types.SELECTION_SORTITION
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

    # Proposing.

    def _take_turn(self) -> None:
        try:
            if self._send_again(("propose", self.name, self.round, b"")):
                return
            if not self._hold_model():
                return self._pass(Pass(reason="unavailable"))
            self.tell("my_turn", f"round {self.round}: my turn, training", self.round)
            proposed, score, why = self._train()
            if isinstance(proposed, Pass):
                return self._pass(proposed, why)
            self._propose(proposed, score)
        except RefusedError as error:
            # It would be refused whenever it came in this round, so it is passed instead.
            reasons: dict[int | None, Reason] = {_NOT_NEW: "worse", _PRIVACY: "failed"}
            if error.rule not in reasons:
                raise
            self._pass(Pass(reason=reasons[error.rule]), str(error))

    def _train(self) -> tuple[Proposal | Pass, Score | None, str | None]:
        """What the learner proposes, how it scores that, and what went wrong."""
        try:
            proposed = self.learner.propose()
            if isinstance(proposed, Pass):
                return proposed, None, None
            if self.version > 1 and proposed.weights.digest in self.models:
                return Pass(reason="worse"), None, "training changed nothing"
            privacy = self._stated(proposed)
            # What the cap does not allow is not even tried.
            if self.cap is not None:
                if privacy is None and self.version > 1:
                    why = "what is proposed here has to say how privately it was trained"
                    return Pass(reason="policy"), None, why
                if privacy is not None and not (
                    privacy.epsilon_micros <= self.cap.epsilon_micros
                    and privacy.delta_picos <= self.cap.delta_picos
                ):
                    return Pass(exhausted=True), None, None
            return proposed, self.learner.test(proposed.weights), None
        except ColearnError:
            raise
        except Exception as error:
            _LOG.warning("passing the turn", exc_info=True)
            return Pass(reason="failed"), None, str(error)

    def _stated(self, proposed: Proposal) -> types.PrivacySpent | None:
        return proposed.privacy.message(self.version) if proposed.privacy is not None else None

    def _pass(self, proposed: Pass, why: str | None = None) -> None:
        exhausted, reason = proposed.exhausted, proposed.reason
        if exhausted:
            reason, why = "cap_reached", "the privacy budget is spent"
        if why is None and reason is not None:
            why = MEANINGS[reason]
        # Version 1 knew no reasons; from version 2 on only a cap can be reached for good.
        if self.version > 1:
            exhausted = exhausted and self.cap is not None
        else:
            reason = None
        message = types.Pass(
            experiment=self.name, round=self.round, exhausted=exhausted, reason=reason_name(reason)
        )
        action = types.Transaction()
        # `pass` is no name in Python.
        getattr(action, "pass").CopyFrom(message)
        self._sign_and_submit(action)
        text = f", because: {why}" if why is not None else ""
        self.tell("passed", f"round {self.round}: passed{text}", self.round)

    def _propose(self, proposed: Proposal, score: Score | None) -> None:
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
            privacy=self._stated(proposed),
        )
        self._sign_and_submit(types.Transaction(propose=proposal))
        self.tell("proposed", f"round {self.round}: proposed, {_scores(score)}", self.round)

    # Voting.

    def _vote(self) -> None:
        digest = bytes(self.proposal.digest)
        if self._send_again(("vote", self.name, self.round, digest)):
            return
        reveal = self.memory.sealed_for(self.round, digest) if self.stage == _COMMIT else None
        if reveal is not None:
            # Sealed before a restart, but not committed to.
            return self._commit(reveal)
        score = self._judge()
        if score is None:
            return
        vote = self._ballot(digest, score)
        if self.stage == _COMMIT:
            reveal = types.Reveal(vote=vote, salt=secrets.token_bytes(32))
            self.memory.keep_sealed(reveal)
            return self._commit(reveal)
        if self.drawn:
            vote.link = self._link()
        self._sign_and_submit(types.Transaction(vote=vote))
        self.tell("voted", f"round {self.round}: {_word(vote)}, {_scores(score)}", self.round)

    def _judge(self) -> Score | None:
        """What the learner thinks of the proposal, or that its bytes are not to be had; nothing if the
        round has ended meanwhile."""
        unavailable = Score(float("nan"), approve=None, reason="unavailable")
        if not self._hold_model():
            return unavailable
        weights = self._fetch_in_time(self.proposal)
        if weights is None:
            return unavailable if self._is_open() else None
        try:
            return self.learner.test(weights)
        except Exception as error:
            # What cannot be scored is not approved.
            _LOG.warning("voting against weights that cannot be scored: %s", error)
            return Score(float("nan"), approve=False, reason="failed")

    def _ballot(self, digest: bytes, score: Score) -> types.Vote:
        """The vote, in the words of the version that the experiment follows: version 1 knew no reasons
        and no abstentions, and who did not approve was against."""
        said = self.version > 1 and not score.approve
        return types.Vote(
            experiment=self.name,
            round=self.round,
            weights=digest,
            approve=bool(score.approve),
            scores=score.message(),
            # Whoever has not seen them has nothing against them.
            abstain=said and (score.approve is None or score.reason == "unavailable"),
            reason=reason_name(score.reason if said else None),
        )

    def _commit(self, reveal: types.Reveal) -> None:
        vote = reveal.vote
        sealed = commitment(self.client.ledger_id, self.me, vote, reveal.salt, self.version)
        commit = types.Commit(
            experiment=self.name, round=vote.round, weights=vote.weights, commitment=sealed
        )
        if self.drawn:
            commit.link = self._link()
        self._sign_and_submit(types.Transaction(commit=commit))
        self.tell("committed", f"round {vote.round}: committed to a sealed vote", vote.round)

    def _link(self) -> bytes:
        return next_link(self.key, self.client.ledger_id, self.name, self.round, self.chain)

    def _reveal(self) -> None:
        reveal = self.memory.sealed_for(self.round, bytes(self.proposal.digest))
        if reveal is None:
            _LOG.warning("the sealed ballot of round %d is not in the data folder", self.round)
            return
        # Not remembered as signed: revealing again says nothing else.
        self.client.act(self.key, types.Transaction(reveal=reveal))
        self.tell("voted", f"round {self.round}: {_word(reveal.vote)}", self.round)

    # Signing.

    def _send_again(self, turn: tuple[str, str, int, bytes]) -> bool:
        signed = self.memory.signed_for(turn)
        if signed is not None:
            self._deliver(signed)
        return signed is not None

    def _sign_and_submit(self, action: types.Transaction) -> None:
        signed = self.client.sign(self.key, action)
        self.memory.keep_signed(signed)
        self._deliver(signed)

    def _deliver(self, signed: types.SignedTransaction) -> None:
        """Submits what is signed. If that has become too old, the very same act is signed again, with
        what was verified since: never another one in its place."""
        for _ in range(_RENEWALS):
            try:
                self.client.submit(signed)
                return
            except RefusedError as error:
                if error.rule != _TOO_OLD:
                    raise
            action = types.Transaction.FromString(signed.body)
            signed = self.client.sign(self.key, action)
            self.memory.keep_signed(signed)
        self.client.submit(signed)

    # Following.

    def _follow(self, entry: types.Entry) -> None:
        """Follows an entry of the experiment."""
        self._ahead = max(self._ahead, entry.time_ms / 1e3 - time.time())
        kind = entry.WhichOneof("payload")
        if kind == "transaction":
            transaction = types.Transaction.FromString(entry.transaction.body)
            act = transaction.WhichOneof("action")
            if act == "propose":
                self._proposed = (bytes(entry.transaction.public_key), transaction.propose.weights)
            elif act in ("vote", "commit") and entry.transaction.public_key == self.me:
                ballot = getattr(transaction, act)
                if ballot.link:
                    self.chain = _revealed(self.chain, ballot.link, ballot.round)
        elif kind == "outcome":
            self._decided(entry.outcome)

    def _decided(self, outcome: types.Outcome) -> None:
        kind = outcome.WhichOneof("decision")
        if kind == "round_opened":
            opened = outcome.round_opened
            self.round, self.phase = opened.round, "proposing"
            self.proposer, self.deadline_ms = bytes(opened.proposer), opened.deadline_ms
        elif kind == "voting_opened":
            self.phase, self.deadline_ms = "voting", outcome.voting_opened.deadline_ms
            self.proposer, self.proposal = self._proposed
            self.stage = _COMMIT if self.sealed else _OPEN
        elif kind == "round_closed":
            closed = outcome.round_closed
            voting, self.phase = self.phase == "voting", "idle"
            self.models.add(bytes(closed.model))
            if voting and closed.verdict == types.VERDICT_ACCEPTED:
                self.model = self.proposal
                self._accept_if_there()
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
            self.stage, self.deadline_ms = _REVEAL, outcome.reveal_opened.deadline_ms
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
            experiment = self.client.experiment(self.name).experiment
            self._check(experiment)
            self._rules(experiment)
        elif kind == "motion_opened":
            number = outcome.motion_opened.number
            text = f"motion {number} is open; vote: colearn experiment ballot {self.name} {number}"
            self.tell("motion_opened", text)
        elif kind == "finished":
            self.phase, self.reason = "finished", outcome.finished.reason

    # Weights.

    def _holds(self) -> bool:
        try:
            return self.learner.current().digest == self.model.digest
        except ModelError:
            # It has no model yet.
            return False

    def _hold_model(self) -> bool:
        """Whether the learner has the global model, which what it owes now takes."""
        if self._holds():
            return True
        weights = self._fetch_in_time(self.model)
        if weights is not None:
            self._accept(weights)
        return weights is not None

    def _accept_if_there(self) -> None:
        """Gives the learner the global model, now or as soon as it is needed."""
        if self._holds():
            return
        try:
            weights = self._fetch(self.model)
        except (RefusedError, ArtifactError) as error:
            if isinstance(error, RefusedError) and error.transient:
                raise
            _LOG.warning("the global model is not to be had now: %s", error)
            return
        self._accept(weights)

    def _accept(self, weights: Weights) -> None:
        if self._holds():
            return
        try:
            self.learner.accept(weights)
        except ColearnError:
            raise
        except Exception as error:
            raise ModelError(f"this learner cannot take the experiment's model: {error}") from error

    def _fetch(self, model: types.Model, timeout: float | None = None) -> Weights:
        for weights in self._recent:
            if weights.digest == model.digest:
                return weights
        weights = self.client.download(bytes(model.digest), model.size, timeout)
        self._recent.append(weights)
        return weights

    def _fetch_in_time(self, model: types.Model) -> Weights | None:
        """Weights that this round's turn or vote takes; ``None`` if they are not to be had until
        shortly before its deadline, or until the round has gone on."""
        left = self.deadline_ms / 1e3 - self._now()
        give_up = self.deadline_ms / 1e3 - min(left * _MARGIN, _LONGEST_MARGIN)
        while True:
            left = give_up - self._now()
            try:
                return self._fetch(model, max(left, 0.001))
            except (UnreachableError, RefusedError, ArtifactError) as error:
                pause = min(max(left / 20, _FIRST_PAUSE), _LONGEST_PAUSE)
                if left <= pause:
                    _LOG.warning("weights were not to be had in time: %s", error)
                    return None
                if isinstance(error, UnreachableError):
                    # The connection is made again, and then there is another try.
                    raise
                self.tell("reconnecting", f"{error}; trying again in {pause:.2f} s")
            time.sleep(pause)
            if not self._is_open():
                return None

    def _is_open(self) -> bool:
        """Whether the round still waits for what is owed."""
        experiment = self.client.experiment(self.name).experiment
        phases = (coordinator.PHASE_PROPOSING, coordinator.PHASE_VOTING)
        return experiment.round == self.round and experiment.phase in phases

    def _now(self) -> float:
        """Ledger time, as far as it can be known here: this machine's, and no earlier than what was
        recorded last."""
        return time.time() + self._ahead


def _revealed(chain: coordinator.Chain | None, link: bytes, round_: int) -> coordinator.Chain:
    """The chain after this was recorded."""
    if chain is None or chain.left == 0:
        return coordinator.Chain(link=link, left=LINKS, anchored=round_)
    return coordinator.Chain(link=link, left=chain.left - 1, anchored=chain.anchored)


def _version(experiment: coordinator.Experiment) -> int:
    return experiment.contract_version or 1


def _invited_by_name(experiment: coordinator.Experiment, learner: bytes) -> bool:
    rules = experiment.parameters
    kind = rules.WhichOneof("admission")
    if kind not in ("invited", "by_vote"):
        return False
    invited: types.InvitedAdmission = getattr(rules, kind)
    named = zip(invited.learners, invited.names, strict=False)
    return any(key == learner and name for key, name in named)


def _word(vote: types.Vote) -> str:
    word = "abstained" if vote.abstain else "approved" if vote.approve else "rejected"
    reason = reason_of(vote.reason)
    return word if reason is None else f"{word} because {MEANINGS[reason]}"


def _scores(score: Score) -> str:
    test = f"{score.test:.3f}" if score.test is not None else "-"
    return f"vote score {score.vote:.3f}, test score {test}"


__all__ = ["Event", "Summary", "run"]
