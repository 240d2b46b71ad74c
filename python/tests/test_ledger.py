"""Reading and checking ledgers."""

from pathlib import Path

import pytest
from conftest import colearn
from lacking import need
from mean import Mean

from colearn_client import open, run_local
from colearn_client.errors import ColearnError, MalformedError, VerificationError


def test_a_local_run_is_read_exported_and_verified(tmp_path) -> None:
    learners = [Mean([float(at), 10.0]) for at in range(1, 5)]
    told = run_local(learners, {"threshold": "2/3", "ballot": "sealed"}, rounds=8, folder=tmp_path)
    assert len(told.rounds) == 8 and told.finished == "max_rounds"
    assert len({learner.value for learner in learners}) == 1
    assert told.rounds[0].verdict == "accepted" and len(told.rounds[0].votes) == 3
    assert "AUDIT OK" in colearn("audit", str(tmp_path / "node"))
    exported = tmp_path / "exported"
    colearn("ledger", "export", str(exported), "--from", str(tmp_path / "node"))
    ledger = open(exported)
    assert ledger.verify() == len(list(ledger.entries()))
    again = ledger.experiments()["local"]
    assert again == told
    pandas = need("pandas")
    rounds, votes = again.to_pandas()
    # Whose mean is the model already passes: who that is depends on who came first.
    proposed = sum(item.verdict != "passed" for item in again.rounds)
    assert isinstance(rounds, pandas.DataFrame) and len(rounds) == 8 and proposed > 4
    assert len(votes) == 3 * proposed
    assert set(votes["voter"]) == set(again.learners)


def test_a_changed_byte_anywhere_is_found(tmp_path) -> None:
    run_local([Mean([1.0]), Mean([3.0])], rounds=2, folder=tmp_path)
    exported = tmp_path / "exported"
    colearn("ledger", "export", str(exported), "--from", str(tmp_path / "node"))
    bundle = next(
        path for path in Path(exported).rglob("*") if "entries" in str(path) and path.is_file()
    )
    good = bundle.read_bytes()
    for at in range(2, len(good), 37):
        bundle.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises((VerificationError, MalformedError)):
            open(exported).verify()
    bundle.write_bytes(good)
    open(exported).verify()
    (Path(exported) / "checkpoint").unlink()
    with pytest.raises(MalformedError, match="is no exported ledger"):
        open(exported).verify()


def test_a_ledger_that_grows_while_it_is_read_is_verified(node, create) -> None:
    create("one", weights=b"0")
    ledger = open(node)
    read = ledger.read

    def read_then_grow():
        found = read()
        create("two", weights=b"0")
        return found

    ledger.read = read_then_grow
    assert ledger.verify() == 2
    assert open(node).verify() == 3


def test_what_is_wrong_with_a_plan_is_told() -> None:
    with pytest.raises(ColearnError, match="unknown field"):
        run_local([Mean([1.0])], {"treshold": "2/3"})
    with pytest.raises(ColearnError, match="at least one learner"):
        run_local([])
    with pytest.raises(ColearnError, match="not found"):
        try:
            run_local([Mean([1.0])], program="/nowhere/colearn")
        except FileNotFoundError as error:
            raise ColearnError(f"not found: {error}") from error
