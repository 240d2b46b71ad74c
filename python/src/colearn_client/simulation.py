"""Simulations: learners, some of them faulty or hostile, in simulated time.

What is not built in is handed in: learners, an attack, a rule by which updates are merged.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from ._core import Weights
from .errors import ColearnError
from .learner import Learner
from .ledger import Experiment, story
from .plans import toml
from .progress import Progress, shown
from .run import ending_on_sigterm, failed

Floats = npt.NDArray[np.float32]

#: The tensors that the numbers of a model are, in their order: names and shapes.
Layout = list[tuple[str, list[int]]]


@dataclass(frozen=True)
class SimulationCosts:
    """What was sent and fetched in a simulation, in bytes.

    Attributes
    ----------
    model_bytes, ledger_bytes
        One model; and the ledger's entries, which everybody downloads who follows it.
    sent_bytes, fetched_bytes
        Weights that the learners have sent and fetched, all together.
    most_sent_bytes, most_fetched_bytes
        The most that one of them has sent, and fetched.
    """

    model_bytes: int
    ledger_bytes: int
    sent_bytes: int
    fetched_bytes: int
    most_sent_bytes: int
    most_fetched_bytes: int


@dataclass(frozen=True)
class SimulationReport:
    """What a simulation gives.

    Attributes
    ----------
    final_score
        The mean score of the final model over the honest learners' test rows; of learners that were
        handed in what their ``test`` says, ``vote`` where it has no score for testing.
    metric
        What the score is.
    rounds, accepted
        Rounds that were held, and proposals that were accepted.
    accepted_from_faulty, accepted_harmful
        Accepted proposals of faulty learners; and those after which the honest learners' test score was
        lower by more than a hundredth.
    backdoor
        The share of rows with a backdoor's trigger that the final model takes for the attackers' class.
    scores
        The score of the global model after each round.
    history
        What happened; ``None`` where updates are combined by a rule instead of voted on.
    root
        The root of the ledger's tree, in hexadecimal: the same scenario gives the same. ``None`` where
        there is no ledger, since updates are combined by a rule.
    entries, simulated_ms
        The ledger's entries, and simulated time.
    costs
        What was sent and fetched.
    """

    final_score: float
    metric: str
    rounds: int
    accepted: int
    accepted_from_faulty: int
    accepted_harmful: int
    backdoor: float | None
    scores: list[float]
    history: Experiment | None
    root: str | None
    entries: int
    simulated_ms: int
    costs: SimulationCosts


@dataclass(frozen=True)
class Share:
    """What a learner is made of: its part of the scenario's data.

    Attributes
    ----------
    number
        Which learner it is for, counted from 1, as in a scenario's faults.
    seed
        What it may draw random numbers from: another one for each, which follows from the scenario's.
    train, vote, test
        Inputs ``[rows, inputs]``, floats of 32 bits, and targets ``[rows]``: class numbers, or the
        numbers to be predicted. To train on, to vote on, and to decide nothing. What an attack poisons
        of them is poisoned.
    classes
        What the classes are called; empty where a number is predicted.
    initial
        The scenario's built-in model, untrained: what a learner beside built-in ones has to begin with,
        such as ``MlpLearner(..., initial=share.initial)``.
    """

    number: int
    seed: int
    train: tuple[Floats, npt.NDArray[Any]]
    vote: tuple[Floats, npt.NDArray[Any]]
    test: tuple[Floats, npt.NDArray[Any]]
    classes: list[str]
    initial: Weights


@dataclass(frozen=True)
class _Numbers:
    round: int
    base: Floats
    rng: np.random.Generator
    layout: Layout = field(repr=False)

    def named(self, numbers: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """A model's numbers as arrays by name: views, so that what is written there is written here."""
        ends = np.cumsum([math.prod(shape) for _, shape in self.layout])
        parts = np.split(numbers, ends[:-1])
        return {
            name: part.reshape(shape) for (name, shape), part in zip(self.layout, parts, strict=True)
        }


@dataclass(frozen=True)
class Seen(_Numbers):
    """What an attack knows when it is an attacker's turn.

    A model is the floats of its weights in a row, ``[numbers]``; whole numbers, such as counters, are
    left as they are. The arrays cannot be written to.

    Attributes
    ----------
    round
        The round, counted from 1.
    base
        The model that there is.
    rng
        Draws the same numbers in each run of the scenario, others for each attacker and round.
    layout
        Names and shapes of the tensors; ``named`` gives a model's.
    learner
        Which learner attacks, counted from 1.
    member, members
        Which of the faulty learners it is, counted from 0, and how many they are.
    trained
        What it has trained itself.
    honest
        ``[honest, numbers]``: what each honest learner has trained last. In rounds in which all train
        attackers come last, so it is of this round, but for those that are away or slower. Where one
        proposes at a time it is of earlier ones.
    """

    learner: int
    member: int
    members: int
    trained: Floats
    honest: Floats


@dataclass(frozen=True)
class Sent(_Numbers):
    """What is to be merged.

    Models are as in :class:`Seen`.

    Attributes
    ----------
    round
        The round, counted from 1.
    base
        The model that all have trained from.
    rng
        Draws the same numbers in each run of the scenario, others in each round.
    layout
        Names and shapes of the tensors; ``named`` gives a model's.
    updates
        ``[updates, numbers]``: the models that were sent. What is none, or not finite, was left out.
    weights
        ``[updates]``: the share of each sender in all rows that were trained on; the same for all where
        learners bring their own data. They sum to one.
    learners
        Who has sent each, counted from 1.
    """

    updates: Floats
    weights: npt.NDArray[np.float64]
    learners: list[int]


Attack = Callable[[Seen], npt.ArrayLike]
Merge = Callable[[Sent], npt.ArrayLike | None]


def simulate(
    scenario: str | os.PathLike[str] | Mapping[str, Any],
    *,
    learners: Sequence[Learner] | Callable[[Share], Learner | None] | None = None,
    attack: Attack | None = None,
    merge: Merge | None = None,
    progress: Progress = False,
) -> SimulationReport:
    """Runs a scenario, as ``colearn simulate`` does; what is not built in is handed in.

    Everything in Python is called on the thread that calls this.

    Parameters
    ----------
    scenario
        A scenario file (TOML), beside which its data is looked for, or a mapping with its keys; see
        docs/simulate.md.
    learners
        Learners of one's own, as :func:`colearn_client.run` takes them. A function makes them, each of
        its share of the scenario's data, or gives ``None`` for a built-in one. Or they are a list: then
        the scenario says nothing of data, model and training. Those that faults name do what these say.
        What one raises costs a turn or a vote, and is logged.
    attack
        For faults with ``attack = "own"``: gives the model that is sent, ``[numbers]``, which may hold
        what is no number.
    merge
        How a server that all trust makes the next model, ``[numbers]``, of what all send in each round;
        ``None``, or what is not finite, leaves the one that there is. Nothing is voted on then, and
        there is no ledger: on a real one the rules that all have agreed on merge, and no others.
    progress
        Whether to print each round, or ``"bar"`` for a bar.

    Raises
    ------
    ColearnError
        If the scenario is refused, or the attack or the rule fails: it says of whom and in which round,
        and what was raised is its cause.

    Examples
    --------
    >>> simulate({"task": "digits", "learners": 5, "rounds": 10}).final_score
    >>> simulate({"learners": 20}, merge=lambda sent: np.median(sent.updates, axis=0)).final_score
    """
    text, folder = read(scenario)
    with ending_on_sigterm(), shown(progress) as people:

        def tell(number: int, verdict: str | None, score: float | None) -> None:
            about = "" if score is None else f", score {score:.3f}"
            people.tell(f"round {number}{': ' + verdict if verdict else ''}{about}", number)

        return run_one(text, folder, learners, attack, merge, tell if progress else None)


def read(scenario: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[str, Path | None]:
    """A scenario's text, and the folder that it is in."""
    if isinstance(scenario, Mapping):
        return toml(scenario), None
    try:
        return Path(scenario).read_text(encoding="utf-8"), Path(scenario).parent
    except (OSError, UnicodeDecodeError) as error:
        raise ColearnError(f"cannot read the scenario {os.fspath(scenario)}: {error}") from error


def run_one(
    text: str,
    folder: Path | None,
    learners: Sequence[Learner] | Callable[[Share], Learner | None] | None,
    attack: Attack | None,
    merge: Merge | None,
    tell: Callable[[int, str | None, float | None], None] | None,
) -> SimulationReport:
    """Runs a scenario of so much text, in its folder; ``tell`` hears of each round."""
    told = _core.simulate(
        text,
        folder=folder,
        learners=None if learners is None or callable(learners) else list(learners),
        make=_making(learners) if callable(learners) else None,
        attack=None if attack is None else _attacking(attack),
        merge=None if merge is None else _merging(merge),
        tell=tell,
        failed=failed,
    )
    # JSON has no NaN: where nothing was accepted yet there is no score.
    told["scores"] = [_number(score) for score in told["scores"]]
    told["final_score"] = _number(told["final_score"])
    history = told.pop("history")
    told["costs"] = SimulationCosts(**told["costs"])
    return SimulationReport(**told, history=None if history is None else story(history))


def _number(score: float | None) -> float:
    return math.nan if score is None else score


# What the extension calls: it hands over bytes, which NumPy reads without a copy.


def _making(make: Callable[[Share], Learner | None]) -> Callable[..., Learner | None]:
    def made(
        number: int,
        seed: int,
        width: int,
        classes: list[str],
        tables: tuple[tuple[bytes, bytes], ...],
        initial: Weights,
    ) -> Learner | None:
        kind = "<u4" if classes else "<f4"
        train, vote, test = (
            (
                np.frombuffer(inputs, "<f4").reshape(-1, width),
                # Class numbers are indices, which libraries want signed.
                np.frombuffer(targets, kind).astype(np.int64 if classes else np.float32),
            )
            for inputs, targets in tables
        )
        return make(Share(number, seed, train, vote, test, classes, initial))

    return made


def _attacking(attack: Attack) -> Callable[..., bytes]:
    def attacks(
        who: tuple[int, int, int, int], layout: Layout, models: tuple[bytes, bytes, bytes], seed: int
    ) -> bytes:
        number, learner, member, members = who
        base, trained = (np.frombuffer(model, "<f4") for model in models[:2])
        honest = np.frombuffer(models[2], "<f4").reshape(-1, len(base))
        rng = np.random.default_rng([seed, learner, number])
        seen = Seen(number, base, rng, layout, learner, member, members, trained, honest)
        with _told(f"the attack of learner {learner} in round {number}"):
            return _model(attack(seen), len(base))

    return attacks


def _merging(merge: Merge) -> Callable[..., bytes | None]:
    def merges(
        who: tuple[int, list[int], list[float]], layout: Layout, models: tuple[bytes, bytes], seed: int
    ) -> bytes | None:
        number, learners, shares = who
        base = np.frombuffer(models[0], "<f4")
        updates = np.frombuffer(models[1], "<f4").reshape(-1, len(base))
        rng = np.random.default_rng([seed, number])
        sent = Sent(number, base, rng, layout, updates, np.array(shares), learners)
        with _told(f"merging round {number}"):
            model = merge(sent)
            return None if model is None else _model(model, len(base))

    return merges


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ColearnError(f"{what} failed: {type(error).__name__}: {error}") from error


def _model(given: npt.ArrayLike, count: int) -> bytes:
    model = np.asarray(given)
    if model.shape != (count,):
        raise ValueError(f"it gave an array of shape {model.shape}, and a model is ({count},)")
    if model.dtype.kind not in "fiu":
        raise TypeError(f"it gave an array of {model.dtype}, and a model is of floats")
    # What fits no float of 32 bits is infinite, and no error.
    with np.errstate(over="ignore"):
        return model.astype("<f4").tobytes()
