"""Telling people what happens: as lines, or as a bar that moves."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, Literal, Protocol

#: Whether and how to show what happens: ``True`` prints lines, to stderr, or in a notebook, which shows
#: that as errors, to stdout; ``"bar"`` shows a bar, in a notebook one of its own, and needs tqdm.
Progress = bool | Literal["bar"]


class Shown(Protocol):
    """What shows people how something goes."""

    def begin(self, total: int | None) -> None:
        """It is known how many rounds (or runs) there are at most; ``None`` where there is no limit."""

    def tell(self, text: str, done: int | None = None) -> None:
        """Something happens, and perhaps so many are done."""


class _Nothing:
    def begin(self, total: int | None) -> None: ...

    def tell(self, text: str, done: int | None = None) -> None: ...


class _Lines(_Nothing):
    def tell(self, text: str, done: int | None = None) -> None:
        # Nobody may read it; that is no reason to stop.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            print(text, file=sys.stdout if in_notebook() else sys.stderr, flush=True)


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def begin(self, total: int | None) -> None:
        self._bar.total = total
        self._bar.refresh()

    def tell(self, text: str, done: int | None = None) -> None:
        self._bar.set_postfix_str(text, refresh=False)
        if done is not None:
            self._bar.n = done
        self._bar.refresh()


def in_notebook() -> bool:
    """Whether this runs in a notebook's kernel."""
    # Loaded by whoever is one; asking for it otherwise would load it.
    kernel = sys.modules.get("ipykernel.zmqshell")
    ipython = sys.modules.get("IPython")
    if kernel is None or ipython is None:
        return False
    return isinstance(ipython.get_ipython(), kernel.ZMQInteractiveShell)


@contextlib.contextmanager
def shown(progress: Progress, unit: str = "round") -> Iterator[Shown]:
    """Shows how something goes, until the block ends.

    Raises
    ------
    ImportError
        If a bar is asked for, and tqdm is not installed.
    """
    if progress != "bar":
        yield _Lines() if progress else _Nothing()
        return
    from tqdm.auto import tqdm

    with tqdm(unit=unit) as bar:
        yield _Bar(bar)
