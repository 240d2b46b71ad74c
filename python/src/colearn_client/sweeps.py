"""Sweeps: simulations of a scenario with several values and seeds."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from .errors import ColearnError
from .learner import Learner
from .plans import varied
from .progress import Progress, shown
from .run import ending_on_sigterm
from .simulation import Attack, Merge, Share, SimulationReport, read, run_one

#: The most runs of a sweep.
MAX_RUNS = 100_000


@dataclass(frozen=True)
class Swept:
    """What came of one setting of a sweep.

    Attributes
    ----------
    setting
        What the scenario says here, by key; ``None`` for what it does not say.
    reports
        What came of it, with each seed.
    """

    setting: dict[str, Any]
    reports: list[SimulationReport] = field(repr=False)

    @property
    def final_score(self) -> float:
        """The mean of the final scores of all seeds."""
        return float(np.mean([report.final_score for report in self.reports]))

    @property
    def deviation(self) -> float:
        """The standard deviation of the final scores between seeds; NaN where there is one seed."""
        scores = [report.final_score for report in self.reports]
        return float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """``[rounds]``: the mean score after each round, as far as all seeds went."""
        rounds = min(len(report.scores) for report in self.reports)
        scores: npt.NDArray[np.float64] = np.array([it.scores[:rounds] for it in self.reports])
        return np.asarray(scores.mean(axis=0))


def sweep(
    scenario: str | os.PathLike[str] | Mapping[str, Any],
    vary: Mapping[str, Sequence[Any]],
    *,
    seeds: int = 1,
    learners: Callable[[Share], Learner | None] | None = None,
    attack: Attack | None = None,
    merge: Merge | None = None,
    progress: Progress = False,
) -> list[Swept]:
    """Runs a scenario with other values here and there, as ``colearn simulate --vary`` does.

    Each value of each key meets each of the others, and each of these settings runs with each seed, one
    after the other. What cannot be is refused before anything runs.

    Parameters
    ----------
    scenario
        As for :func:`simulate`.
    vary
        The values that a key takes, by key: ``"rule"``, in a table ``"plan.threshold"``, in a list,
        counted from 1, ``"faults.1.share"``. ``None`` leaves the key out.
    seeds
        How many seeds, from the scenario's own on.
    learners, attack, merge
        As for :func:`simulate`; but learners are made by a function, anew for each run. An attack and a
        rule of one's own stand where a setting has a place for them: ``{"rule": [None, "median"]}``
        compares a rule that is handed in.
    progress
        Whether to print each run, or ``"bar"`` for a bar.

    Raises
    ------
    ColearnError
        As :func:`simulate`.

    Examples
    --------
    >>> swept = sweep(scenario, {"faults.1.share": [0.0, 0.2], "rule": ["average", "median"]}, seeds=3)
    >>> pd.DataFrame([{**it.setting, "score": it.final_score, "+-": it.deviation} for it in swept])
    """
    if learners is not None and not callable(learners):
        raise ColearnError(
            "learners of a sweep are made anew for each run; hand in a function that makes them"
        )
    if seeds < 1:
        raise ColearnError(f"seeds must be positive, and is {seeds}")
    runs = math.prod(len(values) for values in vary.values()) * seeds
    if runs > MAX_RUNS:
        raise ColearnError(f"these are {runs} runs, and {MAX_RUNS} is the most")
    text, folder = read(scenario)
    told = _core.sweep(text, [varied(key, values) for key, values in vary.items()], seeds)
    settings = [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]
    # What has no place anywhere is handed on, and refused.
    no_attack, no_merge = (not any(it[place] for it in told) for place in (0, 1))
    swept = []
    with ending_on_sigterm(), shown(progress, "run") as people:
        people.begin(runs)
        done = 0
        for setting, (takes_attack, takes_merge, texts) in zip(settings, told, strict=True):
            reports = []
            own_attack = attack if takes_attack or no_attack else None
            own_merge = merge if takes_merge or no_merge else None
            for seed, one in enumerate(texts, 1):
                reports.append(run_one(one, folder, learners, own_attack, own_merge, None))
                done += 1
                said = "".join(f"{key}={value}, " for key, value in setting.items())
                about = f"{said}seed {seed} of {seeds}: score {reports[-1].final_score:.3f}"
                people.tell(f"run {done} of {runs}: {about}", done)
            swept.append(Swept(setting, reports))
    return swept
