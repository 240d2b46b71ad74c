"""Running a learner in an experiment on a ledger."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from . import _core
from ._core import Key
from .learner import Learner
from .plans import Plan, text_of

_LOG = logging.getLogger("colearn_client")


@dataclass(frozen=True)
class Summary:
    """What a finished run leaves.

    Attributes
    ----------
    reason : str
        Why the experiment ended: ``max_rounds``, ``stopped``, ``patience`` or ``abandoned``; or
        ``left``, if this learner has left it.
    model : str
        SHA-256 of the final global model, in hexadecimal.
    rounds : int
        How many rounds were opened.
    """

    reason: str
    model: str
    rounds: int


@dataclass(frozen=True)
class Event:
    """What happens to a running learner.

    Attributes
    ----------
    kind : str
        ``connected``, ``following``, ``joined``, ``my_turn``, ``proposed``, ``passed``, ``voted``,
        ``committed``, ``round_closed``, ``waiting``, ``paused``, ``resumed``, ``suspended``,
        ``motion_opened``, ``too_late``, ``left``, ``distrusted``, ``reconnecting`` or ``finished``.
    text : str
        The same for people.
    round : int or None
        The round, if it is about one.
    """

    kind: str
    text: str
    round: int | None = None


def run(
    learner: Learner,
    node: str,
    experiment: str,
    key: str | os.PathLike[str] | Key,
    *,
    name: str | None = None,
    terms: str | None = None,
    plan: Plan | None = None,
    data: str | os.PathLike[str] | None = None,
    patience: float | None = None,
    watch: Callable[[Event], None] | None = None,
    progress: bool = True,
) -> Summary:
    """Runs a learner in an experiment until that finishes.

    Joins if need be, proposes in its turn, votes on what others propose, and accepts what is
    accepted. A lost connection is made again; after a restart of either side it goes on where the
    ledger stands, without voting twice. Ctrl-C and SIGTERM end it at any time; run again to go on.

    The learner is called on the thread that calls this, everything else happens on another one,
    which ends with the run.

    Parameters
    ----------
    learner
        Anything with ``propose``, ``test``, ``accept`` and ``current``.
    node
        The node's address, such as ``http://127.0.0.1:7400``.
    experiment
        The experiment's name.
    key
        The learner's private key, or the file with it (made if there is none).
    name
        What the learner calls itself, where its invitation does not say.
    terms
        The digest of the terms that were agreed on, in hexadecimal; an experiment with others is not
        joined.
    plan
        What the experiment has to be like, or it is not joined: a plan file, or a mapping with its
        keys.
    data
        Where to remember what must survive a restart. By default the key file's name with ``.data``;
        with a key that is no file, nothing is remembered.
    patience
        Give up when the node cannot be reached for so many seconds; ``None`` for never.
    watch
        Told what happens. What it raises ends the run.
    progress
        Whether to print what happens, to stderr.

    Returns
    -------
    Summary
        Why it ended, and the final model.

    Raises
    ------
    ColearnError
        If the learner is not admitted, cannot take the model, or the node cannot be trusted.
    """
    if not isinstance(key, Key):
        file, key = key, Key.load_or_create(key)
        data = data if data is not None else key.memory_beside(file)

    def tell(kind: str, text: str, round_: int | None) -> None:
        if progress:
            say(text)
        if watch is not None:
            watch(Event(kind, text, round_))

    with ending_on_sigterm():
        reason, model, rounds = _core.run(
            learner,
            node=node,
            experiment=experiment,
            key=key,
            name=name,
            terms=terms,
            plan=text_of(plan),
            data=data,
            patience=patience,
            tell=tell,
            failed=failed,
        )
    return Summary(reason, model, rounds)


def say(text: str) -> None:
    """Prints a line for people: also where there is no terminal, such as in a notebook or a log."""
    # Nobody may read it; that is no reason to stop.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr, flush=True)


def failed(what: str, error: BaseException) -> None:
    """Tells what a learner has raised, where that costs a turn or a vote only."""
    _LOG.warning("%s failed: %s: %s", what, type(error).__name__, error, exc_info=error)


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Lets SIGTERM end what runs as Ctrl-C does, so that everything is put away, and also where this is
    the first process of a container, which no signal ends unless it is asked for."""
    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        # Whoever has a way of its own keeps it.
        yield
        return

    process = os.getpid()

    def end(number: int, _frame: Any) -> NoReturn:
        if os.getpid() != process:
            # Forked off meanwhile, such as a data loader's worker: it ends as it would have.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        # What a shell says of a process that a signal has ended.
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
