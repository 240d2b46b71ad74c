"""Real nodes for the tests: the program that the repository builds."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lacking import pytest_runtest_makereport as pytest_runtest_makereport

from colearn_client import local, local_node

ROOT = Path(__file__).resolve().parents[2]


def find(name: str) -> str | None:
    """A program that cargo built."""
    given = os.environ.get("COLEARN_PROGRAM")
    folder = Path(given).parent if given else None
    places = [folder] if folder else [ROOT / "target" / kind for kind in ("debug", "release")]
    return next((str(place / name) for place in places if (place / name).is_file()), None)


def program() -> list[str]:
    """How the command is run: the one that cargo built, or that of the wheel."""
    return local.command(find("colearn"))


def pytest_configure() -> None:
    # The libraries' threads wait for each other by spinning: where other tests run beside these, a
    # training of seconds takes minutes.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if built := find("colearn"):
        os.environ["COLEARN_PROGRAM"] = built
    # Keras asks for TensorFlow unless told otherwise; PyTorch computes the same.
    if importlib.util.find_spec("tensorflow") is None:
        os.environ.setdefault("KERAS_BACKEND", "torch")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[str]:
    """The address of a node on a new folder, ``tmp_path / "node"``."""
    with local_node(tmp_path / "node") as url:
        yield url


def colearn(*arguments: str) -> str:
    """Runs a command that must succeed, and gives its output."""
    done = subprocess.run([*program(), *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


@pytest.fixture
def create(node: str, tmp_path: Path) -> Callable[..., Path]:
    """Creates an experiment; gives the creator's key file."""

    def make(name: str, *rules: str, weights: bytes | None = None) -> Path:
        key = tmp_path / "creator.pem"
        if not key.exists():
            colearn("key", "new", str(key))
        given: list[str] = []
        if weights is not None:
            (tmp_path / "initial").write_bytes(weights)
            given = ["--weights", str(tmp_path / "initial")]
        base = ["experiment", "create", name, "--node", node, "--key", str(key), "--open"]
        colearn(*base, *given, *rules)
        return key

    return make
