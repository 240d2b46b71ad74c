"""Reading a ledger: experiments, rounds and votes as objects and tables, and checking its bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from ._proto import types_pb2 as types
from .connection import Client
from .errors import MalformedError, NoteError, VerificationError
from .learner import reason_of
from .note import Checkpoint, verify_signature
from .rotation import LogKeys
from .transaction import signed_bytes
from .tree import TreeBuilder, leaf_hash

if TYPE_CHECKING:
    import pandas

_TILE = 256


@dataclass(frozen=True)
class Vote:
    """A vote that was recorded.

    Attributes:
        voter: Its public key, in hexadecimal.
        approve: For or against; ``None`` for neither.
        reason: Why not, in a word, if the voter said so.
        vote_score: What the voter measured, if it recorded that.
        test_score: The same on rows that decide nothing.
        entry: The ledger's entry.
    """

    voter: str
    approve: bool | None
    vote_score: float | None
    test_score: float | None
    entry: int
    reason: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """What a member has measured of a model on its own data. It decides nothing.

    Attributes:
        learner: Its public key, in hexadecimal.
        round: The last opened round then; 0 before the first.
        model: SHA-256 of the model, in hexadecimal.
        measures: The numbers, by name.
        entry: The ledger's entry.
    """

    learner: str
    round: int
    model: str
    measures: dict[str, float]
    entry: int


@dataclass
class Round:
    """One try at improving the global model.

    Attributes:
        number: Counted from 1.
        proposer: Its public key, in hexadecimal.
        base: SHA-256 of the model it began with, in hexadecimal.
        weights: That of the proposal; ``None`` if there was none.
        vote_score: What the proposer measured, if it recorded that.
        test_score: The same on rows that decide nothing.
        votes: The votes.
        verdict: ``accepted``, ``rejected``, ``expired`` or ``passed``; ``None`` while it is open.
        approvals: Votes for, weighted.
        rejections: Votes against, weighted.
        abstentions: Votes for neither, weighted.
        unavailable: How many of those could not get the proposal's bytes, weighted.
        reason: Why the proposer passed, in a word, if it did and said so.
        electorate: The votes there could be.
        opened_ms: When it opened, in ms since 1970.
        closed_ms: When it closed.
    """

    number: int
    proposer: str
    base: str
    opened_ms: int
    weights: str | None = None
    vote_score: float | None = None
    test_score: float | None = None
    votes: list[Vote] = field(default_factory=list)
    verdict: str | None = None
    approvals: int = 0
    rejections: int = 0
    abstentions: int = 0
    unavailable: int = 0
    reason: str | None = None
    electorate: int = 0
    closed_ms: int | None = None

    def mean_test_score(self) -> float | None:
        """The mean of the recorded test scores, the proposer's included."""
        scores = [self.test_score, *(vote.test_score for vote in self.votes)]
        known = [score for score in scores if score is not None]
        return sum(known) / len(known) if known else None


@dataclass
class Experiment:
    """What happened in an experiment.

    Attributes:
        name: Its name.
        creator: A public key, in hexadecimal.
        model: SHA-256 of the present global model, in hexadecimal.
        learners: Everyone who ever joined, in that order.
        rounds: The rounds.
        finished: Why it ended; ``None`` if it has not.
        names: What learners are called, by public key.
        evaluations: What members have measured on their own data.
    """

    name: str
    creator: str
    model: str
    learners: list[str] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    finished: str | None = None
    names: dict[str, str] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)

    def to_pandas(self) -> tuple[pandas.DataFrame, pandas.DataFrame]:
        """Two tables: the rounds, and the votes with their round."""
        import pandas

        rounds = pandas.DataFrame(
            [
                {
                    **{name: value for name, value in vars(item).items() if name != "votes"},
                    "mean_test_score": item.mean_test_score(),
                }
                for item in self.rounds
            ]
        )
        votes = pandas.DataFrame(
            [{"round": item.number, **vars(vote)} for item in self.rounds for vote in item.votes]
        )
        # What was not recorded is NaN, also where nothing was.
        for table in (rounds, votes):
            for column in ("vote_score", "test_score", "mean_test_score"):
                if column in table:
                    table[column] = table[column].astype(float)
        return rounds, votes


class Ledger:
    """A ledger behind a URL, or exported to a folder. Made by :func:`open`."""

    def __init__(self, source: str) -> None:
        self.source = source

    def read(self) -> tuple[str, Iterator[bytes]]:
        """The signed checkpoint, and the entries that it counts, both verbatim."""
        if "://" in self.source:
            with Client(self.source) as client:
                note = client.note
            return note, _entries_of_node(self.source, _size_of(note))
        folder = Path(self.source)
        try:
            note = (folder / "checkpoint").read_text()
        except OSError as error:
            raise MalformedError(f"{self.source} is no exported ledger: {error}") from error
        return note, _entries_of_folder(folder, _size_of(note))

    def entries(self) -> Iterator[bytes]:
        """All entries up to the checkpoint, verbatim."""
        return self.read()[1]

    def checkpoint(self) -> str:
        """The signed checkpoint, verbatim."""
        return self.read()[0]

    def experiments(self) -> dict[str, Experiment]:
        """Every experiment, by name."""
        found: dict[str, Experiment] = {}
        for data in self.entries():
            _tell(found, _entry(data))
        return found

    def verify(self) -> int:
        """Checks the chain of entries, the tree, the checkpoint's signature and every transaction's
        signature. Whether the contract was followed takes ``colearn audit``, which also uses the
        strict rule for signatures.

        Returns:
            The number of entries.

        Raises:
            VerificationError: Names the entry.
        """
        tree, parent, last_ms = TreeBuilder(), bytes(32), 0
        log_keys: LogKeys | None = None
        ledger_id = b""
        # Both at once: the ledger of a node grows.
        note, entries = self.read()
        for index, data in enumerate(entries):
            try:
                entry = _entry(data)
            except MalformedError as error:
                raise VerificationError(f"entry {index}: {error}") from error
            if entry.SerializeToString(deterministic=True) != data:
                raise VerificationError(f"entry {index} is not in the one encoding")
            if entry.index != index or bytes(entry.parent) != parent:
                raise VerificationError(f"entry {index} does not follow the one before")
            if entry.time_ms < last_ms:
                raise VerificationError(f"entry {index} is earlier than the one before")
            kind = entry.WhichOneof("payload")
            if (kind == "genesis") != (index == 0):
                raise VerificationError(f"entry {index}: the first entry, and only that, is genesis")
            if kind == "genesis":
                ledger_id = hashlib.sha256(entry.genesis.SerializeToString()).digest()
                log_keys = LogKeys(entry.genesis, ledger_id)
            elif kind == "transaction":
                signed = entry.transaction
                message = signed_bytes(ledger_id, signed.body)
                if not verify_signature(signed.public_key, message, signed.signature):
                    raise VerificationError(f"entry {index}: the signature does not verify")
            elif kind == "key_rotation":
                assert log_keys is not None
                try:
                    log_keys.follow(index, entry.key_rotation)
                except MalformedError as error:
                    raise VerificationError(str(error)) from error
            parent, last_ms = leaf_hash(data), entry.time_ms
            tree.push(parent)
        if log_keys is None:
            raise VerificationError("entry 0 is missing")
        try:
            checkpoint = Checkpoint.open(note, log_keys.at(tree.size))
        except NoteError as error:
            raise VerificationError(str(error)) from error
        if checkpoint.size != tree.size or checkpoint.root != tree.root():
            raise VerificationError(
                f"the {tree.size} entries do not lead to the checkpoint's root at {checkpoint.size}"
            )
        return tree.size


def open(source: str | os.PathLike[str]) -> Ledger:
    """A ledger to read.

    Args:
        source: A node's URL, or a folder from ``colearn ledger export``.
    """
    return Ledger(os.fspath(source))


def _size_of(note: str) -> int:
    return Checkpoint.parse(note.rpartition("\n\n")[0] + "\n").size


def _entries_of_node(url: str, size: int) -> Iterator[bytes]:
    at = 0
    with Client(url) as client:
        while at < size:
            for entry in client.entries(at, min(size - at, 1000)):
                yield entry
                at += 1


def _entries_of_folder(folder: Path, size: int) -> Iterator[bytes]:
    for number in range((size + _TILE - 1) // _TILE):
        width = min(_TILE, size - number * _TILE)
        path = folder / "tile" / "entries" / _tile_path(number)
        if width < _TILE:
            path = path.with_name(path.name + ".p") / str(width)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise MalformedError(f"the bundle {path} is missing: {error}") from error
        at = 0
        for place in range(width):
            length = int.from_bytes(data[at : at + 2], "big")
            entry = data[at + 2 : at + 2 + length]
            if len(entry) < length or at + 2 > len(data):
                raise MalformedError(f"entry {number * _TILE + place} is cut off in {path}")
            yield entry
            at += 2 + length


def _entry(data: bytes) -> types.Entry:
    try:
        return types.Entry.FromString(data)
    except DecodeError as error:
        raise MalformedError(f"no entry can be read from these {len(data)} bytes") from error


def _tile_path(number: int) -> Path:
    """Groups of three digits, all but the last with an x: 1234067 is x001/x234/067."""
    text = f"{number:03}"
    text = text.zfill((len(text) + 2) // 3 * 3)
    groups = [text[at : at + 3] for at in range(0, len(text), 3)]
    return Path(*[f"x{group}" for group in groups[:-1]], groups[-1])


def _score(scores: types.Scores, which: str) -> float | None:
    return getattr(scores, which) / 1e6 if scores.HasField(which) else None


def _tell(found: dict[str, Experiment], entry: types.Entry) -> None:
    if entry.WhichOneof("payload") == "transaction":
        sender = entry.transaction.public_key.hex()
        transaction = types.Transaction.FromString(entry.transaction.body)
        kind = transaction.WhichOneof("action")
        action: Any = getattr(transaction, kind or "")
        if kind == "create_experiment":
            model = action.model.digest.hex()
            created = Experiment(action.name, creator=sender, model=model)
            kind = action.parameters.WhichOneof("admission")
            listed = getattr(action.parameters, kind or "open")
            if kind != "open":
                named = zip(listed.learners, listed.names, strict=False)
                created.names = {learner.hex(): name for learner, name in named if name}
            found[action.name] = created
            return
        name = action.vote.experiment if kind == "reveal" else action.experiment
        experiment = found[name]
        if kind == "join_experiment":
            if sender not in experiment.learners:
                experiment.learners.append(sender)
            if action.name:
                experiment.names[sender] = action.name
        elif kind == "evaluate":
            round_ = experiment.rounds[-1].number if experiment.rounds else 0
            measures = {it.name: it.value_micros / 1e6 for it in action.measures}
            experiment.evaluations.append(
                Evaluation(sender, round_, action.model.hex(), measures, entry.index)
            )
        elif kind == "replace_key":
            new = action.new_public_key.hex()
            experiment.learners = [new if old == sender else old for old in experiment.learners]
            if sender in experiment.names:
                experiment.names[new] = experiment.names.pop(sender)
        elif kind == "propose":
            last = experiment.rounds[-1]
            last.weights = action.weights.digest.hex()
            last.vote_score = _score(action.scores, "vote")
            last.test_score = _score(action.scores, "test")
        elif kind in ("vote", "reveal"):
            vote = action.vote if kind == "reveal" else action
            vote_score, test_score = _score(vote.scores, "vote"), _score(vote.scores, "test")
            approve = None if vote.abstain else vote.approve
            experiment.rounds[-1].votes.append(
                Vote(sender, approve, vote_score, test_score, entry.index, reason_of(vote.reason))
            )
        elif kind == "pass":
            experiment.rounds[-1].reason = reason_of(action.reason)
    elif entry.WhichOneof("payload") == "outcome":
        outcome = entry.outcome
        experiment = found[outcome.experiment]
        kind = outcome.WhichOneof("decision")
        if kind == "round_opened":
            opened = outcome.round_opened
            experiment.rounds.append(
                Round(opened.round, opened.proposer.hex(), opened.base.hex(), entry.time_ms)
            )
        elif kind == "round_closed":
            closed, last = outcome.round_closed, experiment.rounds[-1]
            last.verdict = types.Verdict.Name(closed.verdict).removeprefix("VERDICT_").lower()
            last.approvals, last.rejections = closed.approvals, closed.rejections
            last.abstentions, last.unavailable = closed.abstentions, closed.unavailable
            last.electorate, last.closed_ms = closed.electorate, entry.time_ms
            experiment.model = closed.model.hex()
        elif kind == "finished":
            reason = types.FinishReason.Name(outcome.finished.reason)
            experiment.finished = reason.removeprefix("FINISH_REASON_").lower()
