"""The ``colearn`` command, as the wheel carries it."""

from __future__ import annotations

import os
import signal
import sys

from . import _core


def main() -> int:
    """Runs the command with this process's arguments; gives its exit code."""
    # The command has its own ways with these, and none of Python's is wanted.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    code = _core.main(["colearn", *sys.argv[1:]], sys.executable)
    # At once: what it has printed is written, and nothing of Python's is left to be done.
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
