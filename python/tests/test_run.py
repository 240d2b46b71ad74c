"""Learners on a real node, beside Rust learners, through breaks and against a lying node."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PROGRAM, colearn, find
from lacking import need
from mean import Mean

from colearn_client import Client, Memory, Weights, keys, local_node, open, run
from colearn_client._proto import types_pb2 as types
from colearn_client.errors import (
    AddressError,
    ArtifactError,
    ForkError,
    ModelError,
    OtherLedgerError,
    RefusedError,
    UnreachableError,
)
from colearn_client.note import Receipt, Verifier
from colearn_client.transaction import commitment
from colearn_client.tree import leaf_hash

PRIVATE = [[3.0, 4.0, 8.0], [1.0, 10.0]]


def run_all(url: str, experiment: str, learners: dict[Path, Mean]) -> list:
    """Runs learners in threads; gives their summaries."""
    ended: dict[Path, object] = {}

    def work(key: Path, learner: Mean) -> None:
        try:
            ended[key] = run(learner, url, experiment, key, patience=30)
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


def test_both_clients_write_the_same_entries(node, create, tmp_path) -> None:
    files = new_keys(tmp_path, "ab")
    rules = ["--max-rounds", "6", "--min-learners", "2"]
    # The first to join proposes first: one after the other.
    for name in ["mean-r", "mean-p"]:
        create(name, *rules, weights=b"0")
        for file in files:
            with Client(node) as client:
                join = types.JoinExperiment(experiment=name)
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
    # Two joins, six proposals, six votes.
    assert sum(rust.values()) == 14
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
        base = ["experiment", "create", name, "--node", url, "--key", str(key), "--open"]
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
    found = commitment(b"l" * 32, b"v" * 32, vote, b"s" * 32)
    assert found == hashlib.sha256(expected).digest()


def test_a_verifier_key_of_a_node_is_read(node) -> None:
    with Client(node) as client:
        assert Verifier.parse(str(client.verifier)) == client.verifier
