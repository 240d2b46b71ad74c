"""Every example runs, with small settings; where a library is missing it says so itself."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
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


def test_lora_text() -> None:
    need("peft")
    need("transformers")
    told = run_example("lora_text.py", "3")
    assert "bytes of " in told and "round 3: " in told


def test_xgboost_csv() -> None:
    assert "the shared model has" in run_example("xgboost_csv.py", "3")


def test_sklearn_forest() -> None:
    together, alone = told_beside_alone(run_example("sklearn_forest.py", "5"))
    assert together > alone > 0.5


def test_lightgbm_csv() -> None:
    together, alone = told_beside_alone(run_example("lightgbm_csv.py", "5"))
    assert together > 0.8 and alone > 0.5


def told_beside_alone(told: str) -> tuple[float, float]:
    """The last line's accuracies: ``... together 0.9, alone 0.8``."""
    last = told.splitlines()[-1]
    together, _, alone = last.partition("together ")[2].partition(", alone ")
    return float(together), float(alone)


def test_mli_tutorial() -> None:
    told = run_example("mli_tutorial.py").partition("[")[2].partition("]")[0]
    found = [float(number) for number in told.split()]
    # Who joins first, and so who proposes first, is not fixed.
    assert all(abs(a - b) < 0.1 for a, b in zip(found, [1, -2, 0.5], strict=True)), found


def test_flower_client() -> None:
    told = run_example("flower_client.py", "6")
    assert float(told.split()[1]) > 0.9, told


def test_privacy_opacus() -> None:
    assert "round 3: " in run_example("privacy_opacus.py", "3")


def test_own_attack() -> None:
    table = run_example("own_attack.py", "3").splitlines()[1:]
    assert [line.split()[0] for line in table] == ["0", "mean", "trimmed", "merged"]
    assert all(0 <= float(score) <= 1 for line in table[1:] for score in line.split()[-3:])


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


def learn_together(node: str, tmp_path: Path, script: str, data: list[str], *more: str) -> None:
    """Two take part with what ``colearn init`` writes, as it says."""
    folders = [tmp_path / name for name in ("a", "b")]
    common = ["--experiment", "own", "--node", node, "--learner", script, *more]
    schema = ["--label", "class"] if script != "images" else []
    rules = ["--min-learners", "2", "--max-rounds", "2"]
    colearn("init", str(folders[0]), "--create", "--data", data[0], *schema, *rules, *common)
    colearn("init", str(folders[1]), "--join", "--data", data[1], *common)
    a, b = folders
    with (a / "plan.toml").open("a") as plan:
        plan.write((b / "member.toml").read_text())
    of = ["--schema", str(a / "schema.json")] if schema else list(more)
    initial, agreed = str(a / "initial.safetensors"), str(a / "agreed.toml")
    begun = run_script(a / "learner.py", "--data", data[0], *of, "--initial", initial)
    assert begun.wait() == 0
    created = ["--key", str(a / "key.pem"), "--plan", str(a / "plan.toml"), "--agreed", agreed]
    colearn("experiment", "create", "own", "--node", node, "--weights", initial, *created)
    joins = ["--experiment", "own", "--node", node, "--plan", agreed]
    running = [
        run_script(folder / "learner.py", "--data", path, *of, *joins, "--key", str(folder / "key.pem"))
        for folder, path in zip(folders, data, strict=True)
    ]
    for learner in running:
        told = learner.communicate(timeout=300)[0]
        assert learner.returncode == 0, told
        assert "max_rounds" in told, told


def run_script(script: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(script), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def points(tmp_path: Path) -> list[str]:
    """Two files of points in two classes."""
    files = []
    for at in range(2):
        rows = [(i % 20 / 20, i // 20 / 10) for i in range(at, 200, 2)]
        lines = [f"{x},{y},{'high' if x + y > 0.9 else 'low'}" for x, y in rows]
        path = tmp_path / f"points{at}.csv"
        path.write_text("\n".join(["x,y,class", *lines]) + "\n")
        files.append(str(path))
    return files


def test_own_sklearn(node: str, tmp_path: Path) -> None:
    need("sklearn")
    need("pandas")
    learn_together(node, tmp_path, "sklearn", points(tmp_path))


def test_own_torch(node: str, tmp_path: Path) -> None:
    need("torch")
    need("pandas")
    learn_together(node, tmp_path, "pytorch", points(tmp_path))


def test_own_images(node: str, tmp_path: Path) -> None:
    need("torch")
    random = np.random.default_rng(1)
    files = []
    for at in range(2):
        y = np.arange(100) % 2
        x = random.integers(0, 40, (100, 8, 8)) + 200 * y[:, None, None]
        path = tmp_path / f"images{at}.npz"
        np.savez(path, x=x.astype(np.uint8), y=y)
        files.append(str(path))
    learn_together(node, tmp_path, "images", files, "--classes", "2")


def test_examples_are_short() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) < 60, path.name
