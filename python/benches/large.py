"""What a large model takes of memory on its way, and what a kill -9 costs.

Run it: ``python benches/large.py [GIB]``, after ``cargo build --release``. It needs three times the
model's size on the disk of ``TMPDIR``. Linux.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from colearn_client import Client, Weights

PROGRAM = Path(__file__).resolve().parents[2] / "target" / "release" / "colearn"
#: At which parts of a transfer its sides are killed.
KILLED_AT = (0.1, 0.5, 0.9)


def write_model(path: Path, size: int) -> None:
    """Zeros that take no room."""
    values = size // 4
    header = {"w": {"dtype": "F32", "shape": [values], "data_offsets": [0, values * 4]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + values * 4)


class Watched:
    """The most memory of a process's own, and of files that it looks at, above what it began with."""

    def __init__(self, process: int) -> None:
        self._process, self._over = process, threading.Event()
        self._first = self._most = self._now()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _now(self) -> tuple[int, int]:
        try:
            text = Path(f"/proc/{self._process}/status").read_text()
        except FileNotFoundError:
            return (0, 0)
        lines = dict(line.split(":", 1) for line in text.splitlines())
        own, files = (int(lines.get(name, "0 kB").split()[0]) for name in ("RssAnon", "RssFile"))
        return (own, files)

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            now = self._now()
            self._most = (max(self._most[0], now[0]), max(self._most[1], now[1]))

    def end(self) -> str:
        self._over.set()
        self._thread.join()
        own, files = (most - first for most, first in zip(self._most, self._first, strict=True))
        return f"{own >> 10:6} MiB of its own, {files >> 10:6} MiB of files"


class Node:
    """A node that can be killed and started again at its port."""

    def __init__(self, data: Path) -> None:
        self._data, self._listen = data, "127.0.0.1:0"
        self.start()

    def start(self) -> None:
        limits = ["--max-artifact-bytes", str(1 << 40), "--artifact-quota-bytes", str(1 << 41)]
        command = [PROGRAM, "node", "--json", "--data", self._data, "--ops-listen", "off", *limits]
        self.process = subprocess.Popen(
            [str(it) for it in [*command, "--listen", self._listen]], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["address"]
        self._listen = self.url.removeprefix("http://")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def child(task: str, url: str, model: Path, folder: Path) -> None:
    """What a process of its own does: it says when it begins."""
    client = Client(url)
    print("ready", flush=True)
    sys.stdin.readline()
    if task == "up":
        client.upload(Weights.open(model))
    else:
        digest, size = folder.joinpath("wanted").read_text().split()
        client.download(bytes.fromhex(digest), int(size), folder)


def begin(task: str, node: Node, model: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--child", task, node.url, str(model), str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    process.stdout.readline()
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def wait_for(it: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not it() and process.poll() is None:
        time.sleep(0.001)


def there(folder: Path) -> int:
    """The bytes of the largest file there."""
    sizes = [0]
    for file in folder.rglob("*"):
        try:
            sizes.append(file.stat().st_size)
        except FileNotFoundError:
            continue
    return max(sizes)


def transfer(task: str, node: Node, model: Path, folder: Path, arrives: Path, size: int) -> None:
    """A way up or down in one go, with kills of the client, and with kills of the node."""
    for killed in ("nobody", "client", "node"):
        for file in arrives.rglob("*"):
            if file.is_file() and file.name != "wanted":
                file.unlink()
        if task == "up":
            # A node knows what it has: it is started on what is left.
            node.kill()
            node.start()
        started, tries = time.monotonic(), 0
        process = begin(task, node, model, folder)
        mine, its = Watched(process.pid), Watched(node.process.pid)
        told = []
        go(process)
        for part in KILLED_AT if killed != "nobody" else ():
            wait_for(lambda part=part: there(arrives) >= part * size, process)
            before = there(arrives)
            if killed == "client":
                process.send_signal(signal.SIGKILL)
                process.wait()
                told.append(f"client {mine.end()}")
                process = begin(task, node, model, folder)
                mine = Watched(process.pid)
                go(process)
            else:
                told.append(f"node   {its.end()}")
                node.kill()
                node.start()
                its = Watched(node.process.pid)
            tries += 1
            assert there(arrives) >= before, "what had come is gone"
        code = process.wait()
        took = time.monotonic() - started
        told += [f"client {mine.end()}", f"node   {its.end()}"]
        assert code == 0 and there(arrives) == size, f"{task} failed: {code}"
        print(f"{task:<4} killed: {killed} ({tries}x): {took:.1f} s, {size / took / 1e6:.0f} MB/s")
        for line in told:
            print(f"       {line}")


def main() -> None:
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else "5") * (1 << 30))
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        model, folder = place / "model.safetensors", place / "arrives"
        folder.mkdir()
        write_model(model, size)
        weights = Weights.open(model)
        folder.joinpath("wanted").write_text(f"{weights.digest.hex()} {len(weights)}")
        node = Node(place / "node")
        try:
            artifacts = place / "node" / "artifacts"
            transfer("up", node, model, folder, artifacts, len(weights))
            transfer("down", node, model, folder, folder, len(weights))
        finally:
            node.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5]))
        os._exit(0)
    main()
