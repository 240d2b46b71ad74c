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
ROUNDS, LEARNERS = 200, 3


def rounds(folder: Path) -> None:
    files = [folder / f"{at}.pem" for at in range(LEARNERS)]
    for file in files:
        keys.load_or_create(file)
    (folder / "initial").write_text("0")
    with local_node(folder / "node", PROGRAM) as url:
        seconds = {}
        for kind in ["rust", "python"]:
            create = [PROGRAM, "experiment", "create", kind, "--node", url, "--key", files[0], "--open"]
            rules = [
                "--weights",
                folder / "initial",
                "--min-learners",
                LEARNERS,
                "--max-rounds",
                ROUNDS,
            ]
            subprocess.run(list(map(str, create + rules)), check=True, stdout=subprocess.DEVNULL)
            started = time.monotonic()
            if kind == "rust":
                program = str(RELEASE / "examples" / "own_learner")
                ends = [
                    subprocess.Popen(
                        [program, url, kind, str(file), "3", "8"], stdout=subprocess.DEVNULL
                    )
                    for file in files
                ]
                assert all(end.wait() == 0 for end in ends)
            else:
                learners = [
                    threading.Thread(target=run, args=(Mean([3.0, 8.0]), url, kind, file))
                    for file in files
                ]
                for learner in learners:
                    learner.start()
                for learner in learners:
                    learner.join()
            seconds[kind] = (time.monotonic() - started) / ROUNDS
            print(f"{kind:<6}: {1e3 * seconds[kind]:.2f} ms a round, {LEARNERS} trivial learners")
        print(f"ratio {seconds['python'] / seconds['rust']:.1f}")


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
