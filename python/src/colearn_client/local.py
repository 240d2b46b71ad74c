"""Running learners on this machine: without a network, or a node for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from . import _core
from .errors import ColearnError
from .learner import Learner
from .ledger import Experiment, story
from .plans import Plan, text_of
from .progress import Progress, shown
from .run import ending_on_sigterm, failed

#: How long a node may take to stop before it is killed, in seconds.
_STOP_TIMEOUT = 10


def command(program: str | os.PathLike[str] | None = None) -> list[str]:
    """How the ``colearn`` command is run: the given program, that in ``COLEARN_PROGRAM``, or this
    package's own."""
    found = program or os.environ.get("COLEARN_PROGRAM")
    return [os.fspath(found)] if found else [sys.executable, "-m", "colearn_client"]


@contextmanager
def local_node(
    data: str | os.PathLike[str], program: str | os.PathLike[str] | None = None
) -> Iterator[str]:
    """Runs a node on this machine while the block runs.

    Parameters
    ----------
    data
        The node's data folder.
    program
        The colearn program; by default this package's own.

    Yields
    ------
    str
        The node's address.
    """
    # However this process ends, the pipe does then, and the node with it.
    arguments = ["node", "--json", "--until-eof", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command(program), *arguments, "--data", os.fspath(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line:
            raise ColearnError(
                f"the node did not start (exit code {process.wait()}); see its message above"
            )
        yield json.loads(line)["address"]
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def run_local(
    learners: Sequence[Learner],
    plan: Plan | None = None,
    *,
    rounds: int | None = None,
    progress: Progress = False,
) -> Experiment:
    """Runs learners by the same rules without a network, beginning with the first one's weights.

    Everything goes through the contract and into a ledger in memory, in simulated time. The learners
    are called on the thread that calls this, one after the other; the very same objects can be given
    to :func:`colearn_client.run` afterwards.

    Parameters
    ----------
    learners
        The learners.
    plan
        The experiment's rules: a plan file, or a mapping with its keys, such as
        ``{"threshold": "2/3", "ballot": "sealed"}``.
    rounds
        How many rounds; by default the plan's ``max_rounds``, or 15.
    progress
        Whether to print each round as it closes, or ``"bar"`` for a bar.

    Returns
    -------
    Experiment
        What happened.

    Raises
    ------
    ColearnError
        If the plan is refused, or a learner does not take the model.
    """
    with ending_on_sigterm(), shown(progress) as people:

        def tell(number: int, verdict: str | None) -> None:
            people.tell(f"round {number}: {verdict}", number)

        told = _core.run_local(
            list(learners),
            plan=text_of(plan),
            rounds=rounds,
            begin=people.begin,
            tell=tell,
            failed=failed,
        )
    return story(told)
