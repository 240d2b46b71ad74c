"""Other processes, threads and event loops: a learner runs wherever Python does."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lacking import need
from mean import Mean
from test_merged import MERGED, Line

from colearn_client import (
    Client,
    Key,
    TorchLearner,
    audit,
    create_experiment,
    open,
    run,
    run_local,
    simulate,
)
from colearn_client.errors import ColearnError

#: How long a process may take that would otherwise hang for ever.
PATIENCE = 60
SCENARIO = {"task": "iris", "learners": 3, "rounds": 2, "model": {"hidden": [4]}}


@pytest.fixture
def place(node: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A node with many entries, which this process has followed at once; and its folder."""
    begin(node, "first", 8)
    run(Mean([1.0, 4.0]), node, "first", Key.generate(), progress=False)
    with Client(node) as client:
        # Fewer are not read on several threads.
        assert client.size > 30
    yield node, tmp_path / "node"


def begin(url: str, name: str, rounds: int, learners: int = 1) -> None:
    rules = {"max_rounds": rounds, "min_learners": learners}
    create_experiment(url, name, Key.generate(), Mean([0.0]), rules)


def merge(url: str, name: str) -> None:
    """Merged rounds, whose merges are computed on several threads."""
    rules = MERGED | {"max_rounds": 2, "min_learners": 1}
    create_experiment(url, name, Key.generate(), Line(0.0), rules)
    assert run(Line(1.0), url, name, Key.generate(), progress=False).rounds == 2
    assert run_local([Line(1.0), Line(2.0)], MERGED, rounds=2).rounds[1].merged


def in_child(start: str, work: Callable[..., None], *arguments: object) -> None:
    """Runs something in another process, which must end well, and soon."""
    with warnings.catch_warnings():
        # That it has several threads is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = multiprocessing.get_context(start).Process(target=work, args=arguments)
        child.start()
    child.join(PATIENCE)
    if child.is_alive():
        child.kill()
        child.join()
        pytest.fail(f"{work.__name__} hangs")
    assert child.exitcode == 0


def do_everything(url: str, folder: str) -> None:
    assert run(Mean([2.0, 3.0]), url, "second", Key.generate(), progress=False).rounds == 3
    with Client(url) as client:
        assert client.size > 30
    assert audit(folder).ok and open(folder).verify() > 30
    assert len(run_local([Mean([1.0]), Mean([2.0])], rounds=2).rounds) == 2
    assert simulate(SCENARIO).rounds == 2
    merge(url, "merged-in-a-child")


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_another_process_does_whatever_this_one_has_done(place, start) -> None:
    url, folder = place
    # Threads were there for each of these, and none is in a child.
    assert audit(folder).ok and simulate(SCENARIO).rounds == 2
    run_local([Mean([1.0]), Mean([2.0])], rounds=2)
    merge(url, "merged")
    begin(url, "second", 3)
    in_child(start, do_everything, url, str(folder))


def test_a_connection_belongs_to_the_process_that_made_it(place) -> None:
    url, _ = place
    client = Client(url)
    size = client.size
    # By then something was done on other threads of the connection.
    begin(url, "more", 20)
    run(Mean([1.0]), url, "more", Key.generate(), progress=False)
    assert client.experiment("more")["round"] == 20 and client.size > size + 16

    def let_go() -> None:
        nonlocal client
        with pytest.raises(ColearnError, match="another process"):
            client.experiment("more")
        client.close()
        del client
        gc.collect()

    in_child("fork", let_go)
    # Nothing was taken from this one.
    assert client.experiment("more")["round"] == 20
    client.close()


def test_a_child_that_lives_on_keeps_no_experiment_to_itself(node, tmp_path) -> None:
    begin(node, "mean", 2)
    key = tmp_path / "a.pem"
    here, there = os.pipe()

    class Forking(Mean):
        child = 0

        def propose(self):
            # As a data loader does that keeps its workers.
            if self.child == 0:
                self.child = os.fork()
                if self.child == 0:
                    os.close(there)
                    os.read(here, 1)
                    os._exit(0)
            return super().propose()

    learner = Forking([1.0, 2.0])
    try:
        run(learner, node, "mean", key, progress=False)
        assert learner.child > 0
        assert run(learner, node, "mean", key, progress=False).reason == "max_rounds"
    finally:
        os.close(there)
        os.close(here)
        os.waitpid(learner.child, 0)


def test_a_torch_learner_loads_its_data_in_workers(node, tmp_path) -> None:
    torch = need("torch")
    data = need("torch.utils.data")
    x = torch.randn(80, 4, generator=torch.Generator().manual_seed(1))
    rows = data.TensorDataset(x, (x[:, 0] > 0).long())
    workers = {"batch_size": 20, "num_workers": 2, "persistent_workers": True}
    loaders = [data.DataLoader(rows, **workers) for _ in range(2)]
    model = torch.nn.Linear(4, 2)
    learner = TorchLearner(model, torch.optim.SGD(model.parameters(), lr=0.5), *loaders)
    create_experiment(node, "x", Key.generate(), learner, {"max_rounds": 3, "min_learners": 1})
    for _ in range(2):
        assert run(learner, node, "x", tmp_path / "a.pem", progress=False).rounds == 3


def test_a_loop_that_runs_is_no_hindrance(node) -> None:
    begin(node, "blocking", 2)
    begin(node, "beside", 4, learners=2)

    async def cells() -> list:
        # As a cell of a notebook does, which a running loop executes.
        first = run(Mean([1.0, 2.0]), node, "blocking", Key.generate())
        assert len(run_local([Mean([1.0]), Mean([2.0])], rounds=2).rounds) == 2
        assert simulate(SCENARIO).rounds == 2
        # And beside whatever else the loop does.
        learners = [Mean([1.0, 3.0]), Mean([5.0])]
        ended = (asyncio.to_thread(run, it, node, "beside", Key.generate()) for it in learners)
        return [first, *await asyncio.gather(*ended)]

    ended = asyncio.run(asyncio.wait_for(cells(), PATIENCE))
    assert [it.rounds for it in ended] == [2, 4, 4]


WAITS = """
import sys
from colearn_client import run
from mean import Mean
run(Mean([1.0]), sys.argv[1], "mean", sys.argv[2], watch=lambda it: print(it.kind, flush=True))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_that_waits_and_it_is_taken_up_again(node, tmp_path, how) -> None:
    begin(node, "mean", 2, learners=2)
    key = tmp_path / "a.pem"
    command = [sys.executable, "-c", WAITS, node, str(key)]
    ours = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ours) as program:
        assert program.stdout is not None
        assert any(line.strip() == "joined" for line in program.stdout)
        program.send_signal(how)
        ended = program.wait(PATIENCE)
    assert ended == {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 128 + signal.SIGTERM}[how]
    threads = [
        threading.Thread(target=run, args=(Mean([3.0]), node, "mean", it), daemon=True)
        for it in (key, Key.generate())
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert open(node).experiments()["mean"].finished == "max_rounds"
