"""Learners on a real node, beside Rust learners, through breaks and against a lying node."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PROGRAM, colearn, find
from lacking import need
from mean import Mean

from colearn_client import Client, Memory, Proposal, Weights, keys, local_node, open, run
from colearn_client._proto import types_pb2 as types
from colearn_client.errors import (
    AddressError,
    ArtifactError,
    ForkError,
    ModelError,
    OtherLedgerError,
    RefusedError,
    TermsError,
    UnreachableError,
)
from colearn_client.learner import Pass, Score
from colearn_client.note import Receipt, Verifier
from colearn_client.transaction import commitment
from colearn_client.tree import leaf_hash

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


def actions(url: str, experiment: str) -> Counter[tuple[bytes, bytes]]:
    """Every action in an experiment with its sender: the experiment's name blotted out, and what
    each vouches for left out, since that depends on who was faster."""
    found: Counter[tuple[bytes, bytes]] = Counter()
    for data in open(url).entries():
        entry = types.Entry.FromString(data)
        if entry.WhichOneof("payload") != "transaction":
            continue
        assert entry.SerializeToString(deterministic=True) == data
        transaction = types.Transaction.FromString(entry.transaction.body)
        kind = transaction.WhichOneof("action")
        name = getattr(getattr(transaction, kind), "experiment", None)
        if name == experiment and kind != "create_experiment":
            transaction.ClearField("seen")
            content = transaction.SerializeToString(deterministic=True)
            content = content.replace(experiment.encode(), b"X" * len(experiment))
            found[content, entry.transaction.public_key] += 1
    return found


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


def test_both_clients_write_the_same_entries(node, create, tmp_path) -> None:
    files = new_keys(tmp_path, "ab")
    rules = ["--max-rounds", "6", "--min-learners", "2"]
    # The first to join proposes first: one after the other.
    for name in ["mean-r", "mean-p"]:
        create(name, *rules, weights=b"0")
        for file in files:
            with Client(node) as client:
                terms = client.experiment(name).experiment.terms
                join = types.JoinExperiment(experiment=name, terms=terms)
                client.act(keys.load(file), types.Transaction(join_experiment=join))
    for process in run_rust(node, "mean-r", files, PRIVATE):
        assert b"after 6 rounds" in process.communicate(timeout=60)[0]
    learners = {file: Mean(numbers) for file, numbers in zip(files, PRIVATE, strict=True)}
    # Another folder than the Rust learners', or what they signed would be sent again.
    for file in files:
        shutil.rmtree(file.with_suffix(".data"), ignore_errors=True)
    summaries = run_all(node, "mean-p", learners)
    assert [summary.rounds for summary in summaries] == [6, 6]
    rust, python = actions(node, "mean-r"), actions(node, "mean-p")
    # Two joins, five proposals, five votes, and a pass: what is to be proposed is the model already.
    assert sum(rust.values()) == 13
    assert rust == python
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
    # Every receipt is kept and good, here and for the program.
    for key in others:
        receipts = sorted(key.with_suffix(".data").glob("receipts/*.tlog-proof"))
        assert len(receipts) > 6
        with Client(node) as client:
            verifier = client.verifier
        for file in receipts:
            leaf = leaf_hash(file.with_suffix(".entry").read_bytes())
            Receipt.parse(file.read_text()).verify(leaf, verifier)
        told = colearn("ledger", "verify-receipt", str(receipts[0]), "--key", str(verifier))
        assert "RECEIPT OK" in told
    receipts_of = str(files[1].with_suffix(".data") / "receipts")
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
            shutil.rmtree(file.with_suffix(".data"), ignore_errors=True)
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
        terms = client.experiment("why").experiment.terms.hex()
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
        shutil.rmtree(file.with_suffix(".data"))
    run(Mean([1.0]), node, "named", files[0], name="City Hospital")
    assert open(node).experiments()["named"].names == {doubtful: "City Hospital"}
    assert "AUDIT OK" in colearn("audit", str(tmp_path / "node"))


def test_who_cannot_get_the_bytes_says_so(node, create, tmp_path, monkeypatch) -> None:
    rules = ["--max-rounds", "2", "--min-learners", "2", "--vote-deadline", "2s"]
    create("lost", *rules, weights=b"0")
    files = new_keys(tmp_path, "ab")
    download = Client.download

    def refuse(self: Client, digest: bytes, *arguments: object) -> Weights:
        # One learner's connection gets nothing but what there was at the beginning.
        if self.memory.folder == files[1].with_suffix(".data") and digest != Weights(b"0").digest:
            raise ArtifactError(digest)
        return download(self, digest, *arguments)

    monkeypatch.setattr(Client, "download", refuse)
    run_all(node, "lost", {files[0]: Mean([1.0]), files[1]: Mean([4.0])})
    rounds = open(node).experiments()["lost"].rounds
    deaf = keys.public_bytes(keys.load(files[1])).hex()
    (heard,) = [item for item in rounds if item.proposer == deaf]
    (lost,) = [item for item in rounds if item.proposer != deaf]
    assert [(vote.approve, vote.reason) for vote in lost.votes] == [(None, "unavailable")]
    assert (lost.verdict, lost.unavailable) == ("expired", 1)
    assert heard.verdict == "accepted" and heard.votes[0].approve


def test_what_has_become_too_old_is_signed_again_as_it_is(node, create, tmp_path, monkeypatch) -> None:
    create("old", "--max-rounds", "2", "--min-learners", "2", weights=b"0")
    files = new_keys(tmp_path, "ab")
    submit = Client.submit
    refused: list[types.SignedTransaction] = []
    taken: list[types.SignedTransaction] = []

    def stale(self: Client, signed: types.SignedTransaction) -> Receipt:
        action = types.Transaction.FromString(signed.body)
        if action.WhichOneof("action") == "propose" and len(refused) == len(taken):
            refused.append(signed)
            raise RefusedError("ABORTED", 71, "R71: too old")
        if action.WhichOneof("action") == "propose":
            taken.append(signed)
        return submit(self, signed)

    monkeypatch.setattr(Client, "submit", stale)
    run_all(node, "old", {files[0]: Mean([1.0]), files[1]: Mean([4.0])})
    assert len(taken) == len(refused) == 2
    for before, after in zip(refused, taken, strict=True):
        acts = [types.Transaction.FromString(it.body) for it in (before, after)]
        for act in acts:
            act.ClearField("seen")
        assert acts[0] == acts[1] and before.public_key == after.public_key


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
        rust = subprocess.Popen([str(PROGRAM), *arguments, *memory], stdout=subprocess.PIPE)
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
        [str(PROGRAM), "node", "--data", str(data), "--listen", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: "joined" in events)
        process.kill()
        process.wait()
        process = subprocess.Popen(
            [str(PROGRAM), "node", "--data", str(data), "--listen", f"127.0.0.1:{port}"],
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
        (tmp_path / "zero").write_text("0")
        # The command remembers, too: in a folder of its own, or it would find the fork first.
        base = ["experiment", "create", name, "--node", url, "--key", str(key), "--open"]
        base += ["--memory", str(tmp_path / f"memory-{name}")]
        colearn(*base, "--weights", str(tmp_path / "zero"))

    with local_node(data) as url:
        add(url, "one")
    shutil.copytree(data, copy)
    with local_node(data) as url:
        add(url, "two")
        Client(url, Memory(memory)).close()
    with local_node(copy) as url:
        with pytest.raises(ForkError, match="FORK") as caught:
            Client(url, Memory(memory))
        assert "shorter" in str(caught.value)
        add(url, "three")
        with pytest.raises(ForkError, match="does not fit") as caught:
            Client(url, Memory(memory))
    assert caught.value.evidence is not None
    assert caught.value.evidence.read_text().count("\n---\n") == 1
    with local_node(tmp_path / "other") as url, pytest.raises(OtherLedgerError, match="belongs to"):
        Client(url, Memory(memory))


def test_refusals_carry_the_rule_and_what_to_do(node, create, tmp_path) -> None:
    create("closed", "--max-rounds", "1", weights=b"0")
    with Client(node) as client:
        key = keys.load(tmp_path / "creator.pem")
        with pytest.raises(RefusedError) as caught:
            client.act(
                key,
                types.Transaction(
                    vote=types.Vote(
                        experiment="closed", round=1, weights=bytes(32), scores=types.Scores()
                    )
                ),
            )
        assert caught.value.rule is not None and f"R{caught.value.rule}" in str(caught.value)
        with pytest.raises(RefusedError, match='R4: there is no experiment "none"'):
            client.experiment("none")
        with pytest.raises(RefusedError):
            client.download(bytes(32), 10)
        weights = Weights(b"some weights")
        client.upload(weights)
        with pytest.raises(ArtifactError):
            client.download(weights.digest, 5)
    with pytest.raises(UnreachableError, match="no node answers"):
        Client("http://127.0.0.1:1")
    with pytest.raises(AddressError):
        Client("ftp://x")
    other = Mean([1.0])
    other.media_type = "text/plain"
    with pytest.raises(ModelError, match="colearn bridge"):
        run(other, node, "closed", tmp_path / "b.pem")


def test_an_upload_goes_on_where_it_broke_and_large_weights_arrive_whole(node) -> None:
    from colearn_client import connection
    from colearn_client._proto import artifact_pb2 as artifact

    weights = Weights(bytes(range(256)) * 20_000)
    with Client(node) as client:

        def half():
            header = artifact.UploadHeader(digest=weights.digest, size=len(weights.data))
            yield artifact.UploadArtifactRequest(header=header)
            size = connection.CHUNK_BYTES
            for at in range(0, 2_000_000, size):
                yield artifact.UploadArtifactRequest(chunk=weights.data[at : at + size])
            raise RuntimeError("the line is cut")

        call = client._channel.stream_unary(
            "/colearn.v1.ArtifactService/UploadArtifact",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=artifact.UploadArtifactResponse.FromString,
        )
        with pytest.raises(Exception):  # noqa: B017
            call(half())
        client.upload(weights)
        assert client.download(weights.digest, len(weights.data)) == weights


def test_a_commitment_is_that_of_the_contract() -> None:
    # Against contracts/README.md, byte by byte.
    import hashlib

    vote = types.Vote(experiment="xray", round=7, weights=b"w" * 32, approve=True)
    vote.scores.vote = -5
    expected = b"colearn/v1/ballot\n" + b"l" * 32 + b"v" * 32 + b"\x04xray" + bytes(7) + b"\x07"
    expected += b"w" * 32 + b"\x01" + b"\x01" + b"\xff" * 7 + b"\xfb" + b"\x00" + b"s" * 32
    found = commitment(b"l" * 32, b"v" * 32, vote, b"s" * 32, 1)
    assert found == hashlib.sha256(expected).digest()
    vote.approve, vote.abstain, vote.reason = False, True, types.REASON_UNAVAILABLE
    expected = b"colearn/v2/ballot\n" + b"l" * 32 + b"v" * 32 + b"\x04xray" + bytes(7) + b"\x07"
    expected += b"w" * 32 + b"\x02\x07" + b"\x01" + b"\xff" * 7 + b"\xfb" + b"\x00" + b"s" * 32
    found = commitment(b"l" * 32, b"v" * 32, vote, b"s" * 32, 2)
    assert found == hashlib.sha256(expected).digest()


def test_a_verifier_key_of_a_node_is_read(node) -> None:
    with Client(node) as client:
        assert Verifier.parse(str(client.verifier)) == client.verifier
