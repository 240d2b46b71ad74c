"""Whom to believe: pins on a ledger, its key and witnesses, and a checkpoint that is trusted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import program
from mean import Mean

from colearn_client import (
    Client,
    Key,
    Weights,
    audit,
    create_experiment,
    experiments,
    local_node,
    open,
    run,
    vote_on_motion,
)
from colearn_client.errors import KeyFileError, NoteError, OtherLedgerError

RULES = {"max_rounds": 2, "min_learners": 1}


@pytest.fixture
def begun(node: str, tmp_path: Path) -> tuple[str, str, str]:
    """A node with an experiment that nobody has joined; the ledger, and the key that keeps it."""
    create_experiment(node, "mean", tmp_path / "creator.pem", Weights(b"0"), RULES)
    with Client(node) as client:
        return node, client.ledger_id, client.verifier


def test_another_ledger_or_key_is_refused_wherever_somebody_believes(begun, tmp_path, node) -> None:
    url, ledger, key = begun
    creator, member = tmp_path / "creator.pem", tmp_path / "member.pem"
    with local_node(tmp_path / "other") as elsewhere, Client(elsewhere) as other:
        theirs = [{"ledger": other.ledger_id}, {"verifier_key": other.verifier}]
    for pins in theirs:
        for what in [
            lambda pins: Client(url, **pins),
            lambda pins: run(Mean([1.0]), url, "mean", member, **pins),
            lambda pins: create_experiment(url, "new", creator, Weights(b"0"), RULES, **pins),
            # As a plan says.
            lambda pins: create_experiment(url, "new", creator, Weights(b"0"), RULES | pins),
            lambda pins: run(Mean([1.0]), url, "mean", member, plan=pins),
            lambda pins: experiments.move(url, "mean", creator, "stop", **pins),
            lambda pins: vote_on_motion(url, "mean", creator, 1, True, **pins),
            lambda pins: experiments.leave(url, "mean", creator, **pins),
            lambda pins: experiments.resume(url, "mean", creator, **pins),
            lambda pins: experiments.stop(url, "mean", creator, **pins),
            lambda pins: experiments.evaluate(url, "mean", creator, {"a": 1.0}, **pins),
        ]:
            with pytest.raises(OtherLedgerError):
                what(pins)
        assert audit(url, **pins).exit_code == 10
    ours = {"ledger": ledger, "verifier_key": key}
    assert audit(url, **ours).ok
    # What is said here comes before what a plan says.
    plan = {**RULES, "min_learners": 1, "ledger": theirs[0]["ledger"]}
    assert run(Mean([1.0]), url, "mean", member, plan=plan, **ours).rounds == 2


def test_pins_that_cannot_be_meant_are_refused(begun, tmp_path) -> None:
    url, _, key = begun
    for wrong in [
        {"ledger": "none"},
        {"verifier_key": "none"},
        {"witnesses": [key]},
        {"witness_quorum": 1},
    ]:
        with pytest.raises(ValueError):
            Client(url, **wrong)
        with pytest.raises(ValueError):
            run(Mean([1.0]), url, "mean", Key.generate(), **wrong)
        with pytest.raises(ValueError):
            audit(url, **wrong)
    for function in [lambda **it: Client(url, **it), lambda **it: audit(url, **it)]:
        with pytest.raises(TypeError, match="unexpected keyword argument 'ledgr'"):
            function(ledgr="00" * 32)
    with pytest.raises(NoteError, match="cannot read the checkpoint"):
        Client(url, trust=tmp_path / "none")
    # Nothing is decided with a key that was made by mistake.
    with pytest.raises(KeyFileError, match="make one with"):
        vote_on_motion(url, "mean", tmp_path / "typing-error.pem", 1, True)


def test_a_checkpoint_is_trusted_and_must_be_this_ledgers(begun, tmp_path) -> None:
    url, _, _ = begun
    checkpoint = tmp_path / "checkpoint"
    checkpoint.write_text(open(url).checkpoint())
    told = []
    learner = Mean([1.0])
    run(learner, url, "mean", Key.generate(), trust=checkpoint, watch=lambda it: told.append(it.kind))
    assert "trusting" in told
    with local_node(tmp_path / "other") as elsewhere:
        create_experiment(elsewhere, "mean", Key.generate(), Weights(b"0"), RULES)
        run(Mean([1.0]), elsewhere, "mean", Key.generate())
        with pytest.raises(OtherLedgerError):
            Client(elsewhere, trust=checkpoint)


@pytest.fixture
def witnessed(tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """The address of a node with a witness, that one's key, and the key of one which it never asks."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> dict[str, str]:
        process = subprocess.Popen(
            [*program(), *arguments], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        running.append(process)
        assert process.stdout is not None
        return json.loads(process.stdout.readline())

    data = ["--json", "--data", str(tmp_path / "data")]
    with local_node(tmp_path / "data") as url, Client(url) as client:
        log = client.verifier
    try:
        logs = ["--listen", "127.0.0.1:0", "--log", log]
        witness, stranger = (
            start("witness", "--json", "--data", str(tmp_path / name), *logs) for name in "ws"
        )
        asked = f"w={witness['verifier_key']}@{witness['address']}"
        node = start("node", *data, "--listen", "127.0.0.1:0", "--witness", asked)
        yield node["address"], witness["verifier_key"], stranger["verifier_key"]
    finally:
        for process in running:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def test_nothing_is_signed_before_the_witnesses_have_seen_it(witnessed, tmp_path) -> None:
    url, witness, stranger = witnessed
    creator, seen = tmp_path / "creator.pem", {"witnesses": [witness]}
    create_experiment(url, "mean", creator, Weights(b"0"), RULES, **seen)
    assert run(Mean([1.0]), url, "mean", tmp_path / "a.pem", **seen).rounds == 2
    assert audit(url, **seen).ok
    both = {"witnesses": [witness, stranger]}
    assert audit(url, **both, witness_quorum=1).ok and audit(url, **both).exit_code == 11
    with pytest.raises(NoteError, match="1 of the 2 witnesses that were named have cosigned"):
        create_experiment(url, "other", creator, Weights(b"0"), RULES, **both)
    assert list(open(url).experiments()) == ["mean"]
