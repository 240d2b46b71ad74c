"""Simulations: built-in learners, some of them faulty or hostile, in simulated time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _core
from .errors import ColearnError
from .ledger import Experiment, story
from .plans import toml
from .progress import Progress, shown
from .run import ending_on_sigterm


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
        The mean score of the final model over the honest learners' test rows.
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
        What happened; ``None`` where updates are averaged instead of voted on.
    root
        The root of the ledger's tree, in hexadecimal: the same scenario gives the same.
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


def simulate(
    scenario: str | os.PathLike[str] | Mapping[str, Any], *, progress: Progress = False
) -> SimulationReport:
    """Runs a scenario, as ``colearn simulate`` does.

    Parameters
    ----------
    scenario
        A scenario file (TOML), or a mapping with its keys; see docs/simulate.md.
    progress
        Whether to print each round, or ``"bar"`` for a bar.

    Examples
    --------
    >>> simulate({"task": "digits", "learners": 5, "rounds": 10}).final_score
    """
    if isinstance(scenario, Mapping):
        text = toml(scenario)
    else:
        try:
            text = Path(scenario).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ColearnError(f"cannot read the scenario {os.fspath(scenario)}: {error}") from error
    with ending_on_sigterm(), shown(progress) as people:

        def tell(number: int, verdict: str | None, score: float | None) -> None:
            about = "" if score is None else f", score {score:.3f}"
            people.tell(f"round {number}{': ' + verdict if verdict else ''}{about}", number)

        told = _core.simulate(text, tell=tell if progress else None)
    # JSON has no NaN: where nothing was accepted yet there is no score.
    told["scores"] = [float("nan") if it is None else it for it in told["scores"]]
    history = told.pop("history")
    told["costs"] = SimulationCosts(**told["costs"])
    return SimulationReport(**told, history=None if history is None else story(history))
