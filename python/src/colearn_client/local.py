"""Running learners on this machine, through a local node that is started for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import keys
from .errors import ColearnError
from .learner import SAFETENSORS, Learner
from .ledger import Experiment
from .ledger import open as open_ledger
from .run import run


def find_program(program: str | os.PathLike[str] | None = None) -> str:
    """The colearn program: the given one, that in ``COLEARN_PROGRAM``, or the one on the path.

    Raises:
        ColearnError: If there is none.
    """
    found = program or os.environ.get("COLEARN_PROGRAM") or shutil.which("colearn")
    if not found:
        raise ColearnError(
            "the colearn program is not on the PATH; install it (cargo install --path .) or say "
            "where it is: program=..., or COLEARN_PROGRAM"
        )
    return str(found)


@contextmanager
def local_node(
    data: str | os.PathLike[str], program: str | os.PathLike[str] | None = None
) -> Iterator[str]:
    """Runs a node on this machine while the block runs.

    Args:
        data: The node's data folder.
        program: The colearn program.

    Yields:
        The node's address.
    """
    # However this process ends, the pipe does then, and the node with it.
    command = [find_program(program), "node", "--json", "--until-eof", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--data", str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ColearnError(f"the node did not start (exit code {process.wait()})")
        yield json.loads(line)["address"]
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def run_local(
    learners: Sequence[Learner],
    plan: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    rounds: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    program: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Experiment:
    """Runs learners in threads through a local node, beginning with the first one's weights.

    The very same objects can be given to :func:`colearn_client.run` afterwards.

    Args:
        learners: The learners.
        plan: The experiment's rules: a plan file, or a mapping with its keys, such as
            ``{"threshold": "2/3", "ballot": "sealed"}``.
        rounds: How many rounds; by default the plan's ``max_rounds``, or 15.
        folder: Where to keep the node's data, to be audited afterwards; by default nowhere.
        program: The colearn program; by default the one on the path.
        progress: Whether to print what happens to the first learner.

    Returns:
        What happened.

    Raises:
        ColearnError: If the program is missing, the plan is refused, or a learner fails.
    """
    if not learners:
        raise ColearnError("a run needs at least one learner")
    with tempfile.TemporaryDirectory(prefix="colearn-") as scratch:
        place = Path(folder) if folder is not None else Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        initial = place / "initial"
        initial.write_bytes(learners[0].current().data)
        files = [place / f"{at + 1}.pem" for at in range(len(learners))]
        for file in files:
            keys.load_or_create(file)
        with local_node(place / "node", program) as node:
            create = [
                find_program(program), "experiment", "create", "local", "--node", node,
                "--key", str(files[0]), "--open", "--weights", str(initial),
                "--min-learners", str(len(learners)),
            ]  # fmt: skip
            if plan is not None and not isinstance(plan, str | os.PathLike):
                path = place / "plan.toml"
                path.write_text(_toml(plan))
                plan = path
            text = Path(plan).read_text() if plan is not None else ""
            if plan is not None:
                create += ["--plan", str(plan)]
                if "admission" in text:
                    create.remove("--open")
            if rounds is not None or "max_rounds" not in text:
                create += ["--max-rounds", str(rounds or 15)]
            media_type = getattr(learners[0], "media_type", SAFETENSORS)
            if media_type != SAFETENSORS:
                create += ["--media-type", media_type]
            created = subprocess.run(create, capture_output=True, text=True)
            if created.returncode != 0:
                raise ColearnError(created.stderr.strip().removeprefix("error: "))
            failures: list[BaseException] = []

            def work(at: int) -> None:
                try:
                    show = progress and at == 0
                    run(learners[at], node, "local", files[at], patience=30, progress=show)
                except BaseException as error:
                    failures.append(error)

            threads = [
                threading.Thread(target=work, args=(at,), daemon=True) for at in range(len(learners))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive() and not failures:
                    thread.join(0.1)
            if failures:
                raise failures[0]
            return open_ledger(node).experiments()["local"]


def _toml(plan: Mapping[str, Any]) -> str:
    """Enough of TOML for a plan."""

    def value(item: Any) -> str:
        if isinstance(item, Mapping):
            return "{ " + ", ".join(f"{key} = {value(inner)}" for key, inner in item.items()) + " }"
        # JSON's strings, numbers and booleans are TOML's too.
        return json.dumps(item)

    return "".join(f"{key} = {value(item)}\n" for key, item in plan.items())
