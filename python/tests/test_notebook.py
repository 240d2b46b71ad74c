"""Progress as lines and as a bar; and all of it in a notebook."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lacking import need
from mean import Mean

from colearn_client import Key, create_experiment, run, run_local, simulate

RULES = {"max_rounds": 3, "min_learners": 1}


def pair() -> list[Mean]:
    return [Mean([1.0, 4.0]), Mean([3.0])]


def test_lines_go_to_stderr_or_nowhere(capsys) -> None:
    run_local(pair(), rounds=2, progress=True)
    out, errors = capsys.readouterr()
    assert not out and errors == "round 1: accepted\nround 2: accepted\n"
    run_local(pair(), rounds=2)
    assert capsys.readouterr() == ("", "")


def test_whoever_cannot_be_told_is_no_reason_to_stop(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert len(run_local(pair(), rounds=2, progress=True).rounds) == 2


def test_a_bar_counts_rounds_and_ends_with_the_run(node, monkeypatch) -> None:
    auto = need("tqdm.auto")
    made: list[Bar] = []

    class Bar(auto.tqdm):
        def __init__(self, **settings):
            super().__init__(**settings)
            self.seen: list[tuple[int, int | None]] = []
            made.append(self)

        def refresh(self, *settings, **more):
            if hasattr(self, "seen"):
                self.seen.append((self.n, self.total))
            return super().refresh(*settings, **more)

    monkeypatch.setattr(auto, "tqdm", Bar)
    create_experiment(node, "mean", Key.generate(), Mean([0.0]), RULES)
    run(Mean([1.0, 4.0]), node, "mean", Key.generate(), progress="bar")
    run_local(pair(), {"max_rounds": 2}, progress="bar")
    simulate({"task": "iris", "learners": 3, "rounds": 2, "model": {"hidden": [4]}}, progress="bar")
    ended = [bar.seen[-1] for bar in made]
    assert ended == [(3, 3), (2, 2), (2, None)] and all(bar.disable for bar in made)
    assert (0, 3) in made[0].seen and "finished" in made[0].postfix
    # One is taken away, too, where the run fails.
    with pytest.raises(AttributeError):
        run_local([object()], progress="bar")
    assert made[-1].disable


def test_a_bar_is_not_to_be_had_without_tqdm(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError):
        run_local(pair(), rounds=2, progress="bar")


CELLS = [
    """
import asyncio
from mean import Mean
from colearn_client import Key, create_experiment, progress, run, run_local
assert progress.in_notebook() and asyncio.get_running_loop().is_running()
create_experiment(node, "alone", Key.generate(), Mean([0.0]), {"max_rounds": 3, "min_learners": 1})
create_experiment(node, "pair", Key.generate(), Mean([0.0]), {"max_rounds": 4, "min_learners": 2})
""",
    'run(Mean([1.0, 4.0]), node, "alone", Key.generate())',
    'run_local([Mean([1.0]), Mean([3.0])], rounds=2, progress="bar").finished',
    """
learners = [Mean([1.0, 4.0]), Mean([3.0])]
tasks = [asyncio.to_thread(run, it, node, "pair", Key.generate(), progress=False) for it in learners]
[it.rounds for it in await asyncio.gather(*tasks)]
""",
]


def test_a_notebook_runs_learners_and_shows_it(node, monkeypatch) -> None:
    nbclient, v4 = need("nbclient"), need("nbformat.v4")
    for module in ["ipykernel", "ipywidgets", "tqdm"]:
        need(module)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    cells = [f"node = {node!r}", *CELLS]
    book = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, timeout=60, kernel_name="python3").execute()
    outputs = [cell.outputs for cell in book.cells[2:]]
    shown = [[it for it in of if it.output_type == "stream"] for of in outputs]
    # As errors would be.
    assert all(it.name == "stdout" for of in shown for it in of)
    lines = "".join(it.text for it in shown[0]).splitlines()
    assert lines[-1] == "finished: max_rounds" and "round 3: my turn, training" in lines
    [bar] = [it for it in outputs[1] if it.output_type == "display_data"]
    assert "application/vnd.jupyter.widget-view+json" in bar.data
    results = [it.data["text/plain"] for of in outputs for it in of if "execution_count" in it]
    assert results[0].startswith("Summary(reason='max_rounds'")
    assert results[1:] == ["'max_rounds'", "[4, 4]"]
