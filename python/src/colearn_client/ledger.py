"""Reading a ledger: experiments, rounds and votes as objects and tables, and checking its bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from . import _core
from .errors import VerificationError
from .pins import ChainPins, Reach

if TYPE_CHECKING:
    import pandas
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Vote:
    """A vote that was recorded.

    Attributes
    ----------
    voter
        Its public key, in hexadecimal.
    approve
        For or against; ``None`` for neither.
    reason
        Why not, in a word, if the voter said so.
    vote_score
        What the voter measured, if it recorded that.
    test_score
        The same on rows that decide nothing.
    entry
        The ledger's entry; ``None`` of a run without a ledger in a file.
    """

    voter: str
    approve: bool | None
    vote_score: float | None
    test_score: float | None
    entry: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """What a member has measured of a model on its own data. It decides nothing.

    Attributes
    ----------
    learner
        Its public key, in hexadecimal.
    round
        The last opened round then; 0 before the first.
    model
        SHA-256 of the model, in hexadecimal.
    measures
        The numbers, by name.
    entry
        The ledger's entry; ``None`` of a run without a ledger in a file.
    """

    learner: str
    round: int
    model: str
    measures: dict[str, float]
    entry: int | None = None


@dataclass
class Round:
    """One try at improving the global model.

    Attributes
    ----------
    number
        Counted from 1.
    proposer
        Its public key, in hexadecimal; ``None`` of a merged round, which everybody trains in.
    base
        SHA-256 of the model it began with, in hexadecimal.
    weights
        That of the proposal; ``None`` if there was none, and of a merged round.
    vote_score
        What the proposer measured, if it recorded that.
    test_score
        The same on rows that decide nothing.
    votes
        The votes.
    verdict
        ``accepted``, ``rejected``, ``expired`` or ``passed``; ``None`` while it is open.
    approvals
        Votes for, weighted.
    rejections
        Votes against, weighted.
    abstentions
        Votes for neither, weighted.
    unavailable
        How many of those could not get the proposal's bytes, weighted.
    reason
        Why the proposer passed, in a word, if it did and said so.
    electorate
        The votes there could be.
    opened_ms
        When it opened, in ms since 1970; ``None`` of a run without a ledger in a file.
    closed_ms
        When it closed.
    merged
        Of a merged round, what ``colearn rounds --json`` tells of it: ``participants``, ``updates`` by
        learner, ``votes`` on the two merges, which was ``accepted``, and so on; ``None`` of others.
    """

    number: int
    proposer: str | None
    base: str
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
    opened_ms: int | None = None
    closed_ms: int | None = None
    merged: dict[str, Any] | None = None

    def mean_test_score(self) -> float | None:
        """The mean of the recorded test scores, the proposer's included."""
        scores = [self.test_score, *(vote.test_score for vote in self.votes)]
        known = [score for score in scores if score is not None]
        return sum(known) / len(known) if known else None


@dataclass
class Experiment:
    """What happened in an experiment.

    Attributes
    ----------
    name
        Its name.
    creator
        A public key, in hexadecimal.
    model
        SHA-256 of the present global model, in hexadecimal.
    learners
        Everyone who ever joined, in that order.
    rounds
        The rounds.
    finished
        Why it ended; ``None`` if it has not.
    names
        What learners are called, by public key.
    evaluations
        What members have measured on their own data.
    """

    name: str
    creator: str | None
    model: str | None
    learners: list[str] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    finished: str | None = None
    names: dict[str, str] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)

    def to_pandas(self) -> tuple[pandas.DataFrame, pandas.DataFrame]:
        """Two tables: the rounds, and the votes with their round.

        Their columns are those of :class:`Round`, with a ``mean_test_score``, and of :class:`Vote`,
        with the ``round``; also where there are none.
        """
        import pandas

        def table(columns: list[str], rows: list[dict[str, Any]]) -> pandas.DataFrame:
            made = pandas.DataFrame(rows, columns=columns)
            # What was not recorded is NaN, also where nothing was.
            scores = [name for name in columns if name.endswith("_score")]
            return made.astype(dict.fromkeys(scores, float))

        of_round = [it.name for it in fields(Round) if it.name != "votes"]
        of_vote = [it.name for it in fields(Vote)]
        rounds = [{**vars(item), "mean_test_score": item.mean_test_score()} for item in self.rounds]
        votes = [{"round": item.number, **vars(vote)} for item in self.rounds for vote in item.votes]
        return table([*of_round, "mean_test_score"], rounds), table(["round", *of_vote], votes)


def story(told: dict[str, Any]) -> Experiment:
    """What the core tells of an experiment, as objects."""
    rounds = [
        Round(**{**item, "votes": [Vote(**vote) for vote in item["votes"]]}) for item in told["rounds"]
    ]
    evaluations = [Evaluation(**item) for item in told["evaluations"]]
    return Experiment(**{**told, "rounds": rounds, "evaluations": evaluations})


@dataclass(frozen=True)
class Finding:
    """Something in a ledger that is not as it should be.

    Attributes
    ----------
    kind
        What kind of thing, in a word.
    index
        The entry, where it is about one.
    expected
        What should have been there.
    got
        What was.
    """

    kind: str
    index: int | None
    expected: str
    got: str

    def __str__(self) -> str:
        place = "" if self.index is None else f"entry {self.index}: "
        return f"{place}{self.kind}: {self.got}; expected {self.expected}"


@dataclass(frozen=True)
class AuditReport:
    """What an audit came to.

    Attributes
    ----------
    ok
        Whether everything is as it should be.
    origin
        The ledger's name.
    verifier_key
        The key the checkpoint was verified with.
    size
        Entries in the checkpoint.
    root
        The checkpoint's root, in hexadecimal.
    experiments, rounds, transactions, signatures, statements
        How many of each there are: experiments created, rounds closed, transactions recorded,
        signatures verified, statements of privacy recomputed.
    chain
        Where a contract on a public chain keeps the ledger: the chain's ``id``, the ``contract``, and
        of how many entries the root is ``proven``, by the block of which ``height`` and ``time_ms``;
        0 where ``trust`` did not ask for that.
    findings
        What is not as it should be: the first ten.
    verdict
        The same in a line, as ``colearn audit`` prints it.
    exit_code
        0, or the number of the first finding's kind.
    """

    ok: bool
    origin: str
    verifier_key: str
    size: int
    root: str
    experiments: int
    rounds: int
    transactions: int
    signatures: int
    statements: int
    findings: list[Finding]
    verdict: str
    exit_code: int
    chain: dict[str, Any] | None = None


Level = Literal["tree", "signatures", "contract"]


def audit(
    source: str | os.PathLike[str],
    *,
    receipts: str | os.PathLike[str] | None = None,
    since: Sequence[str | os.PathLike[str]] = (),
    level: Level = "contract",
    progress: Callable[[int, int], None] | None = None,
    **pins: Unpack[ChainPins],
) -> AuditReport:
    """Re-derives a ledger's whole history from its bytes.

    Parameters
    ----------
    source
        A node's data folder (it may be running), an exported folder, or a node's URL.
    receipts
        A folder of receipts: the ledger must still hold what they promise.
    since
        Files with older checkpoints: the ledger must continue them.
    level
        How deep to go: bytes, chain and tree; every signature too; or all, the contract included.
    progress
        Told how many entries are done, and of how many.
    **pins
        What is insisted on: see :class:`~colearn_client.pins.ChainPins`. By default the ledger is
        verified with the key in its first entry.

    Returns
    -------
    AuditReport
        What was found. Whatever is wrong with the ledger is in it.

    Raises
    ------
    ColearnError
        If the ledger cannot be read at all.
    """
    told, verdict, exit_code = _core.audit(
        os.fspath(source),
        pins=pins,
        receipts=receipts,
        since=list(since),
        level=level,
        tell=progress,
    )
    findings = [Finding(**item) for item in told.pop("findings")]
    known = {name: told[name] for name in AuditReport.__dataclass_fields__ if name in told}
    return AuditReport(**known, findings=findings, verdict=verdict, exit_code=exit_code)


class Ledger:
    """A ledger behind a URL or in a folder. Made by :func:`open`."""

    def __init__(self, source: str, **reach: Unpack[Reach]) -> None:
        self.source = source
        self._reach = reach

    def entries(self) -> Iterator[bytes]:
        """All entries up to the checkpoint, verbatim."""
        return iter(_core.entries(self.source, reach=self._reach))

    def checkpoint(self) -> str:
        """The signed checkpoint, verbatim."""
        return _core.checkpoint(self.source, reach=self._reach)

    def experiments(self) -> dict[str, Experiment]:
        """Every experiment, by name, as it is recorded; :meth:`verify` says whether to believe it."""
        told: dict[str, dict[str, Any]] = _core.experiments(self.source, reach=self._reach)
        return {name: story(item) for name, item in told.items()}

    def verify(self) -> int:
        """Checks everything that ``colearn audit`` does: bytes, chain, tree, checkpoint, every
        signature, and the contract.

        Returns
        -------
        int
            The number of entries.

        Raises
        ------
        VerificationError
            Names the first entry that is not as it should be.
        """
        report = audit(self.source, **self._reach)
        if not report.ok:
            raise VerificationError(str(report.findings[0]))
        return report.size


def open(source: str | os.PathLike[str], **reach: Unpack[Reach]) -> Ledger:
    """A ledger to read.

    Parameters
    ----------
    source
        A node's URL or data folder, or a folder from ``colearn ledger export``.
    **reach
        How a URL is reached: see :class:`~colearn_client.pins.Reach`.
    """
    return Ledger(os.fspath(source), **reach)
