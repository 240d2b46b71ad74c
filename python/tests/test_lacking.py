"""A skip is counted, and fails where everything is required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SKIPPING = """
import pytest
from lacking import need, skip

def test_listed(): skip("gpu", "none here")
def test_installed(): assert need("os.path").join("a", "b")
def test_missing(): need("no_such_module.part")
def test_unnamed(): pytest.skip("not today")
@pytest.mark.skipif(True, reason="never")
def test_marked(): pass
@pytest.mark.xfail
def test_expected_to_fail(): assert False
"""


def test_a_skip_is_counted_and_fails_where_all_is_required(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SKIPPING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "lacking", "-p", "no:cacheprovider", "."]
    for required, told in [
        ("0", "1 passed, 4 skipped, 1 xfailed"),
        ("1", "2 failed, 1 passed, 1 skipped, 1 xfailed, 1 error"),
    ]:
        skips = tmp_path / f"skips-{required}"
        ours = {
            "COLEARN_REQUIRE_ALL": required,
            "COLEARN_SKIPS": str(skips),
            "PYTHONPATH": str(Path(__file__).parent),
        }
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | ours, capture_output=True, text=True
        )
        assert told in done.stdout, done.stdout + done.stderr
        assert skips.read_text().splitlines() == [
            "skipped: test_it.py::test_listed: gpu: none here",
            "skipped: test_it.py::test_missing: no_such_module: "
            "cannot be imported: No module named 'no_such_module'",
            "skipped: test_it.py::test_unnamed: not today",
            "skipped: test_it.py::test_marked: never",
        ]
    assert "no_such_module is required here" in done.stdout
