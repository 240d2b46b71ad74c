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
from typing import TYPE_CHECKING, Any, NoReturn

from . import _core
from .keys import KeyOrFile, opened
from .learner import Learner
from .nodes import Node
from .pins import Trust
from .plans import Plan, text_of
from .progress import Progress, shown

if TYPE_CHECKING:
    from typing_extensions import Unpack

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
        ``policy``, ``connected``, ``trusting``, ``following``, ``joined``, ``my_turn``, ``proposed``,
        ``passed``, ``voted``, ``committed``, ``round_closed``, ``waiting``, ``paused``, ``resumed``,
        ``suspended``, ``motion_opened``, ``too_late``, ``left``, ``distrusted``, ``reconnecting``,
        ``moved`` or ``finished``.
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
    node: Node,
    experiment: str,
    key: KeyOrFile,
    *,
    name: str | None = None,
    terms: str | None = None,
    plan: Plan | None = None,
    policy: str | os.PathLike[str] | None = None,
    model_keys: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    patience: float | None = None,
    watch: Callable[[Event], None] | None = None,
    progress: Progress = True,
    **pins: Unpack[Trust],
) -> Summary:
    """Runs a learner in an experiment until that finishes.

    Joins if need be, proposes in its turn, votes on what others propose, and accepts what is
    accepted. A lost connection is made again; after a restart of either side it goes on where the
    ledger stands, without voting twice. Ctrl-C and SIGTERM end it at any time; run again to go on.

    The learner is called on the thread that calls this, everything else happens on another one,
    which ends with the run. In a notebook it runs in a cell like anything else, until that is
    interrupted; beside other things of an event loop as ``await asyncio.to_thread(run, ...)``, where
    signals do not reach it, and what ``watch`` raises ends it.

    Parameters
    ----------
    learner
        Anything with ``propose``, ``test``, ``accept`` and ``current``.
    node
        The node's address, such as ``http://127.0.0.1:7400``; those of several that keep the ledger as
        a list, or with commas: when one will not do, it goes on at the next.
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
    policy
        The file that says what this site lets leave, whatever the experiment allows: see
        docs/how-to/site-policy.md. Read once, at the start.
    model_keys
        The file with the keys of the experiment's models, where these are encrypted: nothing is then
        taken or sent in the clear. See docs/encrypted.md.
    data
        Where to remember what must survive a restart. By default the key file's name with ``.data``;
        with a key that is no file, nothing is remembered.
    patience
        Give up when the node cannot be reached for so many seconds; ``None`` for never.
    watch
        Told what happens. What it raises ends the run.
    progress
        Whether to print what happens, or ``"bar"`` for a bar: see
        :data:`~colearn_client.progress.Progress`.
    **pins
        Whom to believe, where the plan does not say: see :class:`~colearn_client.pins.Trust`.

    Returns
    -------
    Summary
        Why it ended, and the final model.

    Raises
    ------
    ColearnError
        If the learner is not admitted, cannot take the model, or the node cannot be trusted.
    """
    signer, memory = opened(key, data, make=True)
    with ending_on_sigterm(), shown(progress) as people:

        def tell(kind: str, text: str, round_: int | None) -> None:
            people.tell(text, round_ if kind == "round_closed" else None)
            if watch is not None:
                watch(Event(kind, text, round_))

        reason, model, rounds = _core.run(
            learner,
            node=node,
            experiment=experiment,
            key=signer,
            name=name,
            terms=terms,
            plan=text_of(plan),
            policy=None if policy is None else os.fspath(policy),
            model_keys=None if model_keys is None else os.fspath(model_keys),
            data=memory,
            patience=patience,
            pins=pins,
            begin=people.begin,
            tell=tell,
            failed=failed,
        )
    return Summary(reason, model, rounds)


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
