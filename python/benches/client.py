"""What the client costs: time a round beside the Rust client's, and large weights up and down.

Run it: ``python benches/client.py [MEGABYTES]``, after ``cargo build --release --bins --examples``.
"""

import hashlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python" / "tests"))

from mean import Mean  # noqa: E402

from colearn_client import Client, Weights, arrays, keys, local_node, run  # noqa: E402

RELEASE = ROOT / "target" / "release"
PROGRAM = RELEASE / "colearn"
# After more than fifty rounds these learners have nothing new to propose, and the experiment is paused.
ROUNDS, LEARNERS, RUNS = 45, 3, 4


def rounds(folder: Path) -> None:
    files = [folder / f"{at}.pem" for at in range(LEARNERS)]
    for file in files:
        keys.load_or_create(file)
    (folder / "initial").write_text("0")
    with local_node(folder / "node", PROGRAM) as url:
        best = {}
        for kind in ["rust", "python"]:
            taken = [run_one(url, f"{kind}-{at}", kind, files) for at in range(RUNS)]
            best[kind] = min(taken) / ROUNDS
            print(f"{kind:<6}: {1e3 * best[kind]:.2f} ms a round, {LEARNERS} trivial learners")
        print(f"ratio {best['python'] / best['rust']:.2f}, best of {RUNS} runs each")


def run_one(url: str, name: str, kind: str, files: list[Path]) -> float:
    """Seconds for an experiment's rounds, from when the learners are started."""
    create = [PROGRAM, "experiment", "create", name, "--node", url, "--key", files[0], "--open"]
    initial = ["--weights", files[0].parent / "initial"]
    rules = ["--min-learners", LEARNERS, "--max-rounds", ROUNDS]
    command = [str(it) for it in create + initial + rules]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started = time.monotonic()
    if kind == "rust":
        program = str(RELEASE / "examples" / "own_learner")
        ends = [
            subprocess.Popen([program, url, name, str(file), "3", "8"], stdout=subprocess.DEVNULL)
            for file in files
        ]
        assert all(end.wait() == 0 for end in ends)
    else:
        learners = [
            threading.Thread(
                target=run, args=(Mean([3.0, 8.0]), url, name, file), kwargs={"progress": False}
            )
            for file in files
        ]
        for learner in learners:
            learner.start()
        for learner in learners:
            learner.join()
    return time.monotonic() - started


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def weights(folder: Path, megabytes: int) -> None:
    before = memory_mb()
    with local_node(folder / "node", PROGRAM) as url, Client(url) as client:
        made = arrays.save({"w": np.random.default_rng(1).random(megabytes * 125_000)})
        saved = memory_mb() - before
        started = time.monotonic()
        hashlib.sha256(made.data).digest()
        hashing = time.monotonic() - started
        started = time.monotonic()
        client.upload(made)
        up = time.monotonic() - started
        digest, size = made.digest, len(made.data)
        del made
        started = time.monotonic()
        back = client.download(digest, size)
        down = time.monotonic() - started
        arrays.load(back)
        assert isinstance(back, Weights)
    speed = megabytes
    print(f"{megabytes} MB up: {speed / up:.0f} MB/s, down: {speed / down:.0f} MB/s")
    print(
        f"  SHA-256 alone: {speed / hashing:.0f} MB/s; "
        f"ratio up {hashing / up:.2f}, down {hashing / down:.2f}"
    )
    print(f"  peak memory over the start: {memory_mb() - before:.0f} MB ({saved:.0f} MB after saving)")


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        weights(Path(folder), size)
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        rounds(Path(folder))
