"""Learners on a real node, beside Rust learners, through breaks and against a lying node."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import colearn, find, program
from lacking import need
from mean import Mean

from colearn_client import (
    Client,
    Experiment,
    Key,
    Pass,
    Proposal,
    Score,
    Weights,
    create_experiment,
    experiments,
    keys,
    local_node,
    open,
    run,
    vote_on_motion,
)
from colearn_client.errors import (
    AddressError,
    ArtifactError,
    ColearnError,
    ForkError,
    ModelError,
    OtherLedgerError,
    PlanError,
    PolicyError,
    RefusedError,
    TermsError,
    UnreachableError,
)

PRIVATE = [[3.0, 4.0, 8.0], [1.0, 10.0]]


def run_all(url: str, experiment: str, learners: dict[Path, Mean], **options: object) -> list:
    """Runs learners in threads; gives their summaries."""
    ended: dict[Path, object] = {}

    def work(key: Path, learner: Mean) -> None:
        try:
            ended[key] = run(learner, url, experiment, key, patience=30, **options)
        except BaseException as error:
            ended[key] = error

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in learners.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for value in ended.values():
        if isinstance(value, BaseException):
            raise value
    assert len(ended) == len(learners)
    return [ended[key] for key in learners]


def wait_for(holds: Callable[[], bool]) -> None:
    """Polls until something holds."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def run_rust(url: str, experiment: str, keys_: list[Path], private: list[list[float]]) -> list:
    program = find("examples/own_learner")
    assert program, "build the examples first: cargo build --examples"
    return [
        subprocess.Popen(
            [program, url, experiment, str(key), *map(str, numbers)], stdout=subprocess.PIPE
        )
        for key, numbers in zip(keys_, private, strict=True)
    ]


def new_keys(tmp_path: Path, names: str) -> list[Path]:
    files = [tmp_path / f"{name}.pem" for name in names]
    for file in files:
        keys.load_or_create(file)
    return files


def members(url: str, experiment: str) -> int:
    with Client(url) as client:
        return int(client.experiment(experiment)["member_count"])


STARTS_A_NODE = """
import sys, time
from colearn_client import local_node
with local_node(sys.argv[1]) as url:
    print(url, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_local_node_ends_with_whoever_started_it(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", STARTS_A_NODE, str(tmp_path / "node")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        host, port = program.stdout.readline().strip().removeprefix("http://").split(":")
        program.send_signal(how)
        program.wait(30)

    def gone() -> bool:
        try:
            socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_for(gone)


def story(told: Experiment) -> list[object]:
    """What happened, apart from when."""
    blank = {"opened_ms": None, "closed_ms": None}
    votes = lambda item: [replace(vote, entry=None) for vote in item.votes]  # noqa: E731
    return [replace(item, **blank, votes=votes(item)) for item in told.rounds]


@pytest.mark.parametrize("ballot", ["open", "sealed"])
def test_rust_and_python_learners_record_the_same(node, create, tmp_path, ballot) -> None:
    files = new_keys(tmp_path, "ab")
    told = {}
    for kind in ["rust", "python"]:
        create(kind, "--max-rounds", "6", "--min-learners", "2", "--ballot", ballot, weights=b"0")
        # Another folder than the others', or what they signed would be sent again.
        for file in files:
            shutil.rmtree(file.with_name(file.name + ".data"), ignore_errors=True)
        running: list = []
        for at, (file, numbers) in enumerate(zip(files, PRIVATE, strict=True)):
            # The first to join proposes first: one after the other.
            if kind == "rust":
                running += run_rust(node, kind, [file], [numbers])
            else:
                work = threading.Thread(target=run, args=(Mean(numbers), node, kind, file))
                work.start()
                running.append(work)
            wait_for(lambda kind=kind, at=at: members(node, kind) > at)
        for learner in running:
            if kind == "rust":
                assert b"after 6 rounds" in learner.communicate(timeout=60)[0]
            else:
                learner.join(60)
        told[kind] = story(open(node).experiments()[kind])
    assert len(told["rust"]) == 6
    assert told["rust"] == told["python"]
    assert "AUDIT OK" in colearn("audit", str(tmp_path / "node"))


def test_rust_and_python_learners_share_an_experiment_with_sealed_ballots(
    node, create, tmp_path
) -> None:
    create("mean", "--max-rounds", "6", "--min-learners", "3", "--ballot", "sealed", weights=b"0")
    files = new_keys(tmp_path, "abc")
    rust = run_rust(node, "mean", files[:1], PRIVATE[:1])
    others = {files[1]: Mean(PRIVATE[1]), files[2]: Mean([5.0, 6.0])}
    summaries = run_all(node, "mean", others)
    assert b"after 6 rounds" in rust[0].communicate(timeout=60)[0]
    assert summaries[0] == summaries[1] and summaries[0].reason == "max_rounds"
    rounds = open(node).experiments()["mean"].rounds
    assert [len(item.votes) for item in rounds] == [2] * 6
    assert "AUDIT OK" in colearn("audit", str(tmp_path / "node"))
    # Every receipt is kept, and good.
    for key in others:
        receipts = sorted(key.with_name(key.name + ".data").glob("receipts/*.receipts"))
        assert len(receipts) == 1
        with Client(node) as client:
            verifier = client.verifier
        told = colearn("ledger", "verify-receipt", str(receipts[0]), "--key", verifier)
        assert told.count("RECEIPT OK") > 6
    receipts_of = str(files[1].with_name(files[1].name + ".data") / "receipts")
    assert "AUDIT OK" in colearn("audit", str(tmp_path / "node"), "--receipts", receipts_of)


def test_drawn_proposers_are_drawn_from_what_rust_and_python_reveal(node, create, tmp_path) -> None:
    for ballot in ["open", "sealed"]:
        rules = ["--max-rounds", "9", "--min-learners", "3", "--selection", "sortition"]
        create(ballot, *rules, "--ballot", ballot, weights=b"0")
        files = new_keys(tmp_path, "abc")
        rust = run_rust(node, ballot, files[:1], PRIVATE[:1])
        others = {files[1]: Mean(PRIVATE[1]), files[2]: Mean([5.0, 6.0])}
        run_all(node, ballot, others)
        assert b"after 9 rounds" in rust[0].communicate(timeout=60)[0]
        rounds = open(node).experiments()[ballot].rounds
        proposed = [item for item in rounds if item.verdict != "passed"]
        assert len(proposed) > 6 and all(len(item.votes) == 2 for item in proposed)
        assert len({item.proposer for item in rounds}) > 1
        for file in files:
            shutil.rmtree(file.with_name(file.name + ".data"), ignore_errors=True)
    assert "AUDIT OK" in colearn("audit", str(tmp_path / "node"))


class Doubtful(Mean):
    """It passes its first turn, proposes what there is in the second, and abstains."""

    turns = 0

    def propose(self):
        self.turns += 1
        if self.turns == 1:
            return Pass(reason="policy")
        return super().propose() if self.turns > 2 else Proposal(self.current())

    def test(self, weights: Weights) -> Score:
        return Score(float("nan"), approve=None, reason="too_little_data")


def test_reasons_names_and_terms_are_recorded(node, create, tmp_path) -> None:
    create("why", "--max-rounds", "6", "--min-learners", "2", weights=b"0")
    files = new_keys(tmp_path, "ab")
    with Client(node) as client:
        terms = client.experiment("why")["terms"]
        assert client.contract_version == 2
    with pytest.raises(TermsError, match="nothing was joined"):
        run(Mean([1.0]), node, "why", files[0], terms="00" * 32)
    learners = {files[0]: Doubtful([1.0, 2.0]), files[1]: Mean([4.0])}
    run_all(node, "why", learners, terms=terms)
    told = open(node).experiments()["why"]
    doubtful = keys.public_bytes(keys.load(files[0])).hex()
    passed = [item.reason for item in told.rounds if item.proposer == doubtful]
    assert passed == ["policy", "worse", None]
    others = [item for item in told.rounds if item.proposer != doubtful]
    assert all(item.abstentions == 1 and item.verdict == "rejected" for item in others)
    votes = [vote for item in others for vote in item.votes]
    assert {(vote.approve, vote.reason) for vote in votes} == {(None, "too_little_data")}
    # Names are for people, and nobody's twice.
    create("named", "--max-rounds", "1", "--min-learners", "1", weights=b"0")
    for file in files:
        shutil.rmtree(file.with_name(file.name + ".data"))
    run(Mean([1.0]), node, "named", files[0], name="City Hospital")
    assert open(node).experiments()["named"].names == {doubtful: "City Hospital"}
    assert "AUDIT OK" in colearn("audit", str(tmp_path / "node"))


def test_a_sites_policy_holds_whatever_the_learner_is(node, create, tmp_path) -> None:
    files = new_keys(tmp_path, "ab")
    learners = dict(zip(files, (Mean(numbers) for numbers in PRIVATE), strict=True))
    policy = tmp_path / "site.toml"
    with pytest.raises(PolicyError, match="cannot read the policy"):
        run(Mean([1.0]), node, "held", files[0], policy=policy)
    create("held", "--max-rounds", "2", "--min-learners", "2", weights=b"0")
    for text, why in (
        ("scores = false\n", "unprotected"),
        ("scores = false\nunprotected = true\nsurprise = 1\n", "surprise"),
        ('scores = false\nunprotected = true\nexperiments = ["other"]\n', "does not allow"),
        ("scores = false\nunprotected = false\n", "without differential privacy"),
    ):
        policy.write_text('data = "numbers"\n' + text)
        with pytest.raises(PolicyError, match=why):
            run(Mean([1.0]), node, "held", files[0], policy=policy)
    assert members(node, "held") == 0, "nothing was joined"
    policy.write_text('data = "numbers"\nscores = false\nunprotected = true\n')
    run_all(node, "held", learners, policy=policy)
    create("open", "--max-rounds", "2", "--min-learners", "2", weights=b"0")
    run_all(node, "open", learners)
    told = open(node).experiments()
    scores = {
        name: {vote.vote_score is None for item in told[name].rounds for vote in item.votes}
        for name in ("held", "open")
    }
    assert scores == {"held": {True}, "open": {False}}


def test_a_built_in_model_is_shared_by_rust_and_numpy(node, create, tmp_path) -> None:
    need("sklearn")
    from sklearn.datasets import load_digits

    from colearn_client import MlpLearner

    digits = load_digits()
    x, y = digits.data / 16, digits.target
    for hidden in ["softmax", "mlp"]:
        create(hidden, "--model", hidden, "--max-rounds", "6", "--min-learners", "3")
        files = new_keys(tmp_path, "abc")
        arguments = ["learner", "--node", node, "--experiment", hidden, "--key", str(files[0])]
        memory = ["--memory", str(tmp_path / f"{hidden}.rust"), "--share", "1/3"]
        rust = subprocess.Popen([*program(), *arguments, *memory], stdout=subprocess.PIPE)
        learners = {
            files[at]: MlpLearner(
                (x[at::3][:400], y[at::3][:400]), (x[at::3][400:500], y[at::3][400:500]),
                (x[at::3][500:], y[at::3][500:]), seed=at,
            )
            for at in (1, 2)
        }  # fmt: skip
        run_all(node, hidden, learners)
        rust.communicate(timeout=60)
        assert rust.returncode == 0
        rounds = open(node).experiments()[hidden].rounds
        assert all(item.weights for item in rounds)
        best = max(item.mean_test_score() or 0 for item in rounds)
        assert best > 0.85, best


def test_a_learner_goes_on_after_the_node_was_killed(create, tmp_path) -> None:
    data = tmp_path / "survivor"
    events: list[str] = []
    with local_node(data) as url:
        key = tmp_path / "one.pem"
        colearn("key", "new", str(key))
        (tmp_path / "zero").write_text("0")
        base = ["experiment", "create", "mean", "--node", url, "--key", str(key), "--open"]
        more = ["--weights", str(tmp_path / "zero"), "--min-learners", "2", "--max-rounds", "4"]
        colearn(*base, *more)
        port = url.rpartition(":")[2]
    ended: list[object] = []

    def work() -> None:
        watch = lambda event: events.append(event.kind)  # noqa: E731
        address = f"http://127.0.0.1:{port}"
        ended.append(run(Mean([1.0]), address, "mean", tmp_path / "a.pem", watch=watch))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    wait_for(lambda: "reconnecting" in events)
    # The same address again.
    process = subprocess.Popen(
        [*program(), "node", "--data", str(data), "--listen", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: "joined" in events)
        process.kill()
        process.wait()
        process = subprocess.Popen(
            [*program(), "node", "--data", str(data), "--listen", f"127.0.0.1:{port}"],
            stdout=subprocess.DEVNULL,
        )
        run(Mean([9.0]), f"http://127.0.0.1:{port}", "mean", tmp_path / "b.pem", patience=30)
        thread.join(30)
    finally:
        process.kill()
        process.wait()
    assert ended[0].rounds == 4
    assert "AUDIT OK" in colearn("audit", str(data))


def test_a_fork_is_found_and_the_evidence_kept(tmp_path) -> None:
    data, copy, memory = tmp_path / "node", tmp_path / "copy", tmp_path / "memory"
    key = tmp_path / "a.pem"
    colearn("key", "new", str(key))

    def add(url: str, name: str) -> None:
        # By somebody else each time, who remembers nothing.
        creator = tmp_path / f"{name}.pem"
        colearn("key", "new", str(creator))
        (tmp_path / "zero").write_text("0")
        base = ["experiment", "create", name, "--node", url, "--key", str(creator), "--open"]
        colearn(*base, "--weights", str(tmp_path / "zero"))

    with local_node(data) as url:
        add(url, "one")
    shutil.copytree(data, copy)
    with local_node(data) as url:
        add(url, "two")
        Client(url, keys.load(key), memory).close()
    with local_node(copy) as url:
        with pytest.raises(ForkError, match="ROLLED BACK"):
            Client(url, keys.load(key), memory)
        add(url, "three")
        with pytest.raises(ForkError, match="FORK") as caught:
            Client(url, keys.load(key), memory)
    assert caught.value.evidence is not None
    assert caught.value.evidence.read_text().count("\n---\n") == 1
    with local_node(tmp_path / "other") as url, pytest.raises(OtherLedgerError, match="belongs to"):
        Client(url, keys.load(key), memory)


def test_refusals_carry_the_rule_and_what_to_do(node, create, tmp_path) -> None:
    key = create("closed", "--max-rounds", "1", weights=b"0")
    with Client(node) as client:
        with pytest.raises(RefusedError) as caught:
            client.vote_on_motion("closed", 1, True, keys.load(key))
        assert caught.value.rule is not None and f"R{caught.value.rule}" in str(caught.value)
        with pytest.raises(RefusedError, match="there is no experiment none") as caught:
            client.experiment("none")
        assert caught.value.missing
        with pytest.raises(RefusedError):
            client.download(bytes(32), 10)
        weights = Weights(b"some weights")
        client.upload(weights)
        assert client.download(weights.digest, 12) == weights
        with pytest.raises(ArtifactError):
            client.download(weights.digest, 5)
    with pytest.raises(ColearnError, match="closed"):
        client.experiments()
    with pytest.raises(UnreachableError, match="no node answers"):
        Client("http://127.0.0.1:1")
    with pytest.raises(AddressError):
        Client("ftp://x")
    other = Mean([1.0])
    other.media_type = "text/plain"
    with pytest.raises(ModelError, match="colearn bridge"):
        run(other, node, "closed", tmp_path / "b.pem")
    assert members(node, "closed") == 0, "it has looked before it joined"


def test_large_weights_arrive_whole(node, tmp_path) -> None:
    weights = Weights(bytes(range(256)) * 70_000)
    folder = tmp_path / "weights"
    file = folder / weights.digest.hex()
    with Client(node) as client:
        client.upload(weights)
        assert client.download(weights.digest, len(weights)) == weights
        # A file of the folder's has them; what is there does not come again, and what is wrong does.
        for there in (None, None, b"wrong"):
            if there is not None:
                file.unlink()
                file.write_bytes(there * (len(weights) // len(there)))
            came = client.download(weights.digest, len(weights), folder)
            assert came.data == weights.data
        assert list(folder.iterdir()) == [file]


def test_an_experiment_is_created_for_ones_own_model_and_governed(node, tmp_path) -> None:
    files = new_keys(tmp_path, "ab")
    ours = [keys.public_bytes(keys.load(file)).hex() for file in files]
    learners = {file: Mean(numbers) for file, numbers in zip(files, PRIVATE, strict=True)}
    with pytest.raises(PlanError, match="line 1"):
        create_experiment(node, "mean", files[0], learners[files[0]], {"treshold": "2/3"})
    with pytest.raises(PlanError):
        create_experiment(node, "mean", files[0], learners[files[0]], {"min_learners": 0})
    rules = {"max_rounds": 4, "min_learners": 2, "members": dict.fromkeys(ours, 1)}
    made = create_experiment(node, "mean", files[0], learners[files[0]], rules)
    with Client(node) as client:
        shown = client.experiment("mean")
        assert shown["terms"] == made.terms and shown["max_rounds"] == 4
        assert [it["name"] for it in client.experiments()] == ["mean"]
    run_all(node, "mean", learners, terms=made.terms, plan=made.plan)
    assert experiments.evaluate(node, "mean", files[0], {"error": 0.25}) > made.entry
    told = open(node).experiments()["mean"]
    assert told.finished == "max_rounds" and told.evaluations[0].measures == {"error": 0.25}
    # What members decide: one moves, the others vote.
    create_experiment(node, "moved", files[0], Weights(b"0"), {**rules, "min_learners": 2})
    started = threading.Thread(
        target=run_all, args=(node, "moved", learners), kwargs={"progress": False}, daemon=True
    )

    class Slow(Mean):
        """It waits in its turn until it is told to go on: the experiment does not end before."""

        goes_on = threading.Event()

        def propose(self):
            self.goes_on.wait(60)
            return super().propose()

    for file, numbers in zip(files, PRIVATE, strict=True):
        learners[file] = Slow(numbers)
        shutil.rmtree(file.with_name(file.name + ".data"))
    started.start()
    wait_for(lambda: members(node, "moved") == 2)
    number = experiments.move(node, "moved", files[0], "set", rules={"threshold": "2/3"})
    assert vote_on_motion(node, "moved", files[1], number, approve=True) > 0
    with pytest.raises(RefusedError):
        vote_on_motion(node, "moved", files[1], number + 1, approve=True)
    Slow.goes_on.set()
    started.join(60)
    with Client(node) as client:
        assert client.experiment("moved")["threshold"] == "2/3"
    assert "AUDIT OK" in colearn("audit", str(tmp_path / "node"))


def test_a_key_in_memory_remembers_nothing_and_takes_part(node, create, tmp_path) -> None:
    create("mean", "--max-rounds", "2", "--min-learners", "1", weights=b"0")
    before = sorted(tmp_path.iterdir())
    assert run(Mean([3.0]), node, "mean", Key.generate()).rounds == 2
    assert sorted(tmp_path.iterdir()) == before
