"""Every example runs, with small settings; where a library is missing it says so itself."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from conftest import ROOT, colearn
from lacking import need, skip
from mean import Mean

from colearn_client import run

EXAMPLES = ROOT / "python" / "examples"
MNIST = ROOT.parent / "shared" / "reference" / "data" / "mnist"


def run_example(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.stderr.startswith("skipped: "):
        # It names first what is lacking.
        why = done.stderr.strip().removeprefix("skipped: ")
        skip(why.split()[0], why)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sklearn_digits() -> None:
    need("sklearn")
    assert "final mean accuracy 0." in run_example("sklearn_digits.py", "5")


def test_torch_mnist() -> None:
    if not MNIST.is_dir():
        skip("shared", f"no {MNIST}")
    assert "round 2: " in run_example("torch_mnist.py", str(MNIST), "2", "2000")


def test_xgboost_csv() -> None:
    assert "the shared model has" in run_example("xgboost_csv.py", "3")


def test_mli_tutorial() -> None:
    told = run_example("mli_tutorial.py").partition("[")[2].partition("]")[0]
    found = [float(number) for number in told.split()]
    # Who joins first, and so who proposes first, is not fixed.
    assert all(abs(a - b) < 0.1 for a, b in zip(found, [1, -2, 0.5], strict=True)), found


def test_privacy_opacus() -> None:
    assert "round 3: " in run_example("privacy_opacus.py", "3")


def test_read_ledger(node: str, create: Callable[..., Path], tmp_path: Path) -> None:
    need("pandas")
    create("local", "--max-rounds", "4", "--min-learners", "2", weights=b"0")
    other = threading.Thread(target=run, args=(Mean([3.0]), node, "local", tmp_path / "b.pem"))
    other.start()
    run(Mean([1.0, 5.0]), node, "local", tmp_path / "a.pem")
    other.join()
    exported, plot = tmp_path / "exported", tmp_path / "plot.png"
    colearn("ledger", "export", str(exported), "--from", str(tmp_path / "node"))
    told = run_example("read_ledger.py", str(exported), "local", str(plot))
    assert "chained, signed" in told and plot.stat().st_size > 1000


def test_examples_are_short() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) < 60, path.name
