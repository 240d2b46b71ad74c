"""Reading, checking and simulating ledgers."""

import math
from pathlib import Path

import pytest
from conftest import colearn
from lacking import need
from mean import Mean
from test_run import new_keys, run_all

from colearn_client import Experiment, audit, dp, local_node, open, run_local, simulate
from colearn_client.errors import ColearnError, MalformedError, ModelError, VerificationError
from colearn_client.learner import PrivacySegment


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A node's data folder, with an experiment of four learners and sealed ballots."""
    files = new_keys(tmp_path, "abcd")
    learners = {file: Mean([float(at), 10.0]) for at, file in enumerate(files, 1)}
    (tmp_path / "initial").write_text("0")
    with local_node(tmp_path / "node") as url:
        colearn(
            *["experiment", "create", "mean", "--node", url, "--key", str(files[0]), "--open"],
            *["--weights", str(tmp_path / "initial"), "--min-learners", "4", "--max-rounds", "8"],
            *["--threshold", "2/3", "--ballot", "sealed"],
        )
        run_all(url, "mean", learners)
        # The same from the node itself as from its folder.
        assert open(url).experiments() == open(tmp_path / "node").experiments()
        assert audit(url).ok
    assert len({learner.value for learner in learners.values()}) == 1
    return tmp_path / "node"


def test_a_ledger_is_read_exported_and_verified(recorded, tmp_path) -> None:
    exported = tmp_path / "exported"
    colearn("ledger", "export", str(exported), "--from", str(recorded))
    ledger = open(exported)
    assert ledger.verify() == len(list(ledger.entries()))
    assert ledger.checkpoint().splitlines()[1] == str(ledger.verify())
    told = ledger.experiments()["mean"]
    assert told == open(recorded).experiments()["mean"]
    assert len(told.rounds) == 8 and told.finished == "max_rounds"
    first = told.rounds[0]
    assert first.verdict == "accepted" and len(first.votes) == 3
    assert first.opened_ms <= first.closed_ms and all(vote.entry > 4 for vote in first.votes)
    pandas = need("pandas")
    rounds, votes = told.to_pandas()
    # Whose mean is the model already passes: who that is depends on who came first.
    proposed = sum(item.verdict != "passed" for item in told.rounds)
    assert isinstance(rounds, pandas.DataFrame) and len(rounds) == 8 and proposed > 4
    assert len(votes) == 3 * proposed
    assert set(votes["voter"]) == set(told.learners)
    # Tables have the same columns, and of the same types, whatever happened.
    nothing = Experiment("nothing", None, None).to_pandas()
    for empty, full in zip(nothing, (rounds, votes), strict=True):
        assert len(empty) == 0 and list(empty.columns) == list(full.columns)
        scores = [name for name in full.columns if name.endswith("score")]
        assert scores and all(empty[name].dtype == full[name].dtype == float for name in scores)


def test_an_audit_says_what_it_found(recorded, tmp_path) -> None:
    seen = []
    report = audit(recorded, progress=lambda done, total: seen.append((done, total)))
    assert report.ok and report.exit_code == 0 and report.verdict.startswith("AUDIT OK")
    assert (report.experiments, report.rounds) == (1, 8) and seen[-1] == (report.size, report.size)
    receipts = tmp_path / "a.pem.data" / "receipts"
    assert audit(recorded, receipts=receipts, verifier_key=report.verifier_key, level="signatures").ok
    other = audit(recorded, ledger="00" * 32)
    assert not other.ok and other.exit_code == 10
    journal = next((recorded / "ledger" / "journal").glob("*.journal"))
    journal.write_bytes(journal.read_bytes()[:-300])
    broken = audit(recorded)
    assert not broken.ok and broken.exit_code > 9 and broken.findings[0].kind in broken.verdict
    with pytest.raises(ColearnError, match="holds no ledger"):
        audit(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="level"):
        audit(recorded, level="everything")
    with pytest.raises(TypeError, match="no checkpoint"):
        audit(recorded, trust=tmp_path / "checkpoint")


def test_an_audit_asks_a_public_chain_for_a_proof_of_the_line_that_is_trusted(recorded) -> None:
    assert audit(recorded).chain is None
    line = f"chain-1/12/{'ab' * 32}/600s/{'07' * 32}"
    with pytest.raises(TypeError, match="says not what to trust"):
        audit(recorded, trust="fetchhub-4/12")
    # It would leave open which ledger is meant.
    with pytest.raises(ValueError, match="names no contract"):
        audit(recorded, trust=line)
    whole = f"{line}/wasm14hj2tavq8fpesdwxxcu44rty3hh90vhujrvcmstl4zr3txmfvw9s0phg4d"
    with pytest.raises(ColearnError, match="is a folder, where nothing is proven"):
        audit(recorded, trust=whole)
    no_contract = pytest.raises(ColearnError, match="no contract there keeps the ledger")
    with local_node(recorded) as url, no_contract:
        audit(url, trust=whole)


def test_whoever_watches_an_audit_can_end_it(recorded) -> None:
    def enough(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(recorded, progress=enough)


def test_a_changed_byte_anywhere_is_found(recorded, tmp_path) -> None:
    exported = tmp_path / "exported"
    colearn("ledger", "export", str(exported), "--from", str(recorded))
    bundle = next(
        path for path in Path(exported).rglob("*") if "entries" in str(path) and path.is_file()
    )
    good = bundle.read_bytes()
    for at in range(2, len(good), 97):
        bundle.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises((VerificationError, MalformedError, ColearnError)):
            open(exported).verify()
    bundle.write_bytes(good)
    open(exported).verify()
    (Path(exported) / "checkpoint").unlink()
    with pytest.raises(ColearnError, match="holds no ledger"):
        open(exported).verify()


def test_a_run_without_a_network_tells_the_same_things() -> None:
    learners = [Mean([float(at), 10.0]) for at in range(1, 5)]
    told = run_local(learners, {"threshold": "2/3", "ballot": "sealed"}, rounds=8)
    assert len(told.rounds) == 8 and told.finished == "max_rounds"
    assert len({learner.value for learner in learners}) == 1
    assert told.rounds[0].verdict == "accepted" and len(told.rounds[0].votes) == 3
    assert len(run_local([Mean([1.0]), Mean([2.0])]).rounds) == 15
    need("pandas")
    assert len(told.to_pandas()[0]) == 8


def test_what_is_wrong_with_a_plan_is_told() -> None:
    with pytest.raises(ColearnError, match="unknown field"):
        run_local([Mean([1.0])], {"treshold": "2/3"})
    with pytest.raises(ColearnError, match="at least one learner"):
        run_local([])
    with pytest.raises(ColearnError, match="cannot read the plan"):
        run_local([Mean([1.0])], "no-such-plan.toml")
    other = Mean([2.0])
    other.media_type = "text/plain"
    with pytest.raises(ModelError, match="text/plain"):
        run_local([Mean([1.0]), other])


def test_a_scenario_is_simulated() -> None:
    scenario = {"task": "iris", "learners": 4, "rounds": 6, "model": {"hidden": [4]}}
    report = simulate(scenario)
    assert report.rounds == 6 == len(report.scores) and report.final_score > 0.5
    assert report.history is not None and report.history.finished == "max_rounds"
    assert simulate(scenario).root == report.root
    # The other three have fetched the first model, and all others each proposal.
    costs = report.costs
    assert costs.fetched_bytes >= 3 * 7 * costs.model_bytes and costs.most_sent_bytes > 0
    averaged = simulate({**scenario, "rule": "average"})
    assert averaged.history is None and not math.isnan(averaged.scores[-1])
    with pytest.raises(ColearnError, match="learnerz"):
        simulate({"learnerz": 3})
    with pytest.raises(ColearnError, match="cannot read the scenario"):
        simulate("no-such-scenario.toml")


def test_privacy_is_accounted_for_as_by_the_command() -> None:
    steps = PrivacySegment(noise_multiplier=1.1, clip=1.0, sampling_rate=0.004, steps=3500)
    found = dp.epsilon(steps)
    assert f"{found:.4f}" in colearn(
        *["dp", "epsilon", "--noise", "1.1", "--sampling", "0.004", "--steps", "3500"]
    )
    assert dp.epsilon([steps, steps]) > found
    assert abs(dp.noise_multiplier(found, 0.004, 3500) - 1.1) < 0.01
    with pytest.raises(ValueError, match="noise multiplier"):
        dp.epsilon(PrivacySegment(0.0, 1.0, 0.1, 1))
