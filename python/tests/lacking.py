"""How a test says that something is lacking; the rule is that of the Rust tests (``testkit/``).

Every skip names what is lacking, in one word, and why it is needed. It goes into the file that
``COLEARN_SKIPS`` names. With ``COLEARN_REQUIRE_ALL=1`` it fails the test, unless ``.ci/may-lack`` lists
the word.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

LIST = Path(__file__).resolve().parents[2] / ".ci" / "may-lack"


def skip(what: str, why: str) -> NoReturn:
    """Skips the rest of a test for lack of ``what``, one word."""
    pytest.skip(f"{what}: {why}")


def need(module: str) -> ModuleType:
    """Imports a module, or skips the rest of the test."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        skip(module.partition(".")[0], f"cannot be imported: {error}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not report.skipped or hasattr(report, "wasxfail"):
        return report
    assert isinstance(report.longrepr, tuple)
    reason = report.longrepr[2].removeprefix("Skipped: ")
    if path := os.environ.get("COLEARN_SKIPS"):
        with Path(path).open("a") as file:
            file.write(f"skipped: {report.nodeid}: {' '.join(reason.split())}\n")
    lines = [line.split() for line in LIST.read_text().splitlines() if not line.startswith("#")]
    may_lack = {words[0] for words in lines if words}
    what = reason.partition(":")[0]
    if os.environ.get("COLEARN_REQUIRE_ALL") == "1" and what not in may_lack:
        report.outcome = "failed"
        report.longrepr = f"{what} is required here: {reason}"
    return report
