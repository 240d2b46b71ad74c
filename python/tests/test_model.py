"""The model out: got by its round, looked into, and found again in the ledger."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from conftest import colearn
from mean import Mean
from test_run import new_keys, run_all

from colearn_client import arrays, local_node, model
from colearn_client.errors import (
    ArtifactError,
    ColearnError,
    ModelError,
    SchemaError,
    VerificationError,
)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A node's data folder, with an experiment of three learners in which some rounds were accepted."""
    files = new_keys(tmp_path, "abc")
    learners = {file: Mean([float(at), 10.0]) for at, file in enumerate(files, 1)}
    (tmp_path / "initial").write_text("0")
    with local_node(tmp_path / "node") as url:
        colearn(
            *["experiment", "create", "mean", "--node", url, "--key", str(files[0]), "--open"],
            *["--weights", str(tmp_path / "initial"), "--min-learners", "3", "--max-rounds", "4"],
        )
        run_all(url, "mean", learners)
        # The same from the node itself.
        got = model.get("mean", url, tmp_path / "now")
        assert got.current and (tmp_path / "now").stat().st_size == got.size
    return tmp_path / "node"


def test_a_model_is_got_by_its_round_and_found_again(recorded, tmp_path) -> None:
    out = tmp_path / "out"
    told: list[tuple[int, int]] = []
    got = model.get("mean", recorded, out, progress=lambda done, of: told.append((done, of)))
    assert hashlib.sha256(out.read_bytes()).hexdigest() == got.digest
    assert got.ledger["ok"] and told[-1] == (got.ledger["size"],) * 2
    assert out.read_bytes() == (tmp_path / "now").read_bytes()
    found = model.verify(out, recorded)
    assert found.accepted and found.uses[0]["round"] == got.round and found.uses[0]["current"]
    assert all(vote["entry"] < got.entry for vote in found.uses[0]["votes"])
    best = model.get("mean", recorded, out, best=True)
    assert best.median_vote_score is not None and best.round > 0
    assert model.get("mean", recorded, out, round=0).round == 0 and out.read_text() == "0"
    out.write_text("something else")
    unknown = model.verify(out, recorded, "mean")
    assert not unknown.accepted and unknown.uses == [] and unknown.ledger["ok"]


def test_what_cannot_be_got_is_told(recorded, tmp_path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="two models"):
        model.get("mean", recorded, out, round=1, best=True)
    with pytest.raises(ColearnError, match="no experiment other; it has: mean"):
        model.get("other", recorded, out)
    with pytest.raises(ColearnError, match="mean has no round 9; its last is 4"):
        model.get("mean", recorded, out, round=9)
    with pytest.raises(VerificationError, match="is not as it should be"):
        model.get("mean", recorded, out, ledger="0" * 64)
    colearn("ledger", "export", str(tmp_path / "bare"), "--from", str(recorded))
    with pytest.raises(ArtifactError, match="no weights"):
        model.get("mean", tmp_path / "bare", out)
    with pytest.raises(ColearnError, match="cannot read"):
        model.verify(out, recorded)
    assert not out.exists()


def test_a_file_shows_its_tensors(tmp_path) -> None:
    weights = arrays.save({"b": np.zeros(3, np.float32), "w": np.zeros((3, 2), np.float32)})
    file = tmp_path / "weights"
    file.write_bytes(bytes(weights.data))
    shown = model.show(file)
    assert shown.digest == weights.digest.hex() and shown.size == len(weights)
    assert (shown.media_type, shown.parameters, shown.model) == ("application/x-safetensors", 9, None)
    assert {it.name: it.shape for it in shown.tensors} == {"b": (3,), "w": (3, 2)}
    file.write_bytes(b"\x80\x04K*.")
    assert model.show(file).media_type == "application/x-colearn-legacy"
    with pytest.raises(OSError):
        model.show(tmp_path / "none")


def built_in(node: str, folder: Path, table: str, label: str) -> Path:
    """The file of an untrained built-in model for a table."""
    data, out = folder / f"{label}.csv", folder / f"{label}.safetensors"
    data.write_text(table)
    (key,) = new_keys(folder, label[:1])
    colearn(
        *["experiment", "create", label, "--node", node, "--key", str(key), "--open"],
        *["--data", str(data), "--label", label, "--model", "mlp", "--hidden", "4"],
    )
    model.get(label, node, out)
    return out


def test_a_built_in_model_predicts_what_the_command_predicts(node: str, tmp_path: Path) -> None:
    table = "age,job,default\n" + "".join(
        f"{20 + at},{['cook', 'smith'][at % 2]},{['no', 'yes'][at // 10 % 2]}\n" for at in range(40)
    )
    file = built_in(node, tmp_path, table, "default")
    data, out = tmp_path / "default.csv", tmp_path / "predicted.csv"
    colearn("predict", "--model", str(file), "--data", str(data), "--out", str(out))
    predicted = model.predict(file, data)
    assert predicted.csv == out.read_text()
    assert predicted.classes == ["no", "yes"] and predicted.scored_rows == 40
    assert set(predicted.scores) > {"accuracy"} and predicted.passed_over == []
    lines = list(csv.DictReader(out.open()))
    assert list(predicted.predictions) == [line["prediction"] for line in lines]
    assert predicted.probabilities is not None and predicted.probabilities.shape == (40, 2)
    told = np.array([[line["p_no"], line["p_yes"]] for line in lines], np.float32)
    assert (predicted.probabilities == told).all()
    # The same from memory.
    rows = [line.split(",")[:2] for line in table.splitlines()[1:]]
    inputs = np.array([[float(age), job] for age, job in rows], object)
    shown = model.show(file).model
    assert shown is not None
    names = [column["name"] for column in shown["schema"]["features"]]
    array = model.predict(file, inputs[:, [["age", "job"].index(name) for name in names]])
    assert (array.csv, array.scored_rows, array.scores) == (predicted.csv, 0, {})
    with pytest.raises(
        SchemaError, match=r"the array's shape is \(40, 1\), and the model needs \[rows, 2\]"
    ):
        model.predict(file, inputs[:, :1])
    with pytest.raises(SchemaError, match="line 2"):
        model.predict(file, np.array([["pilot" if name == "job" else 1.0 for name in names]], object))
    with pytest.raises(SchemaError, match="no column"):
        (tmp_path / "other.csv").write_text("x\n1\n")
        model.predict(file, tmp_path / "other.csv")
    with pytest.raises(ModelError, match="cannot be used"):
        model.predict(data, data)
    with pytest.raises(ModelError, match="cannot be used"):
        model.predict(data, inputs)


def test_numbers_are_predicted_in_their_own_unit(node: str, tmp_path: Path) -> None:
    table = "age,income\n" + "".join(f"{at}.5,{at * 1000}.25\n" for at in range(30))
    file = built_in(node, tmp_path, table, "income")
    predicted = model.predict(file, tmp_path / "income.csv")
    assert predicted.probabilities is None and predicted.classes == []
    assert predicted.predictions.dtype == np.float32 and len(predicted.predictions) == 30
    ages = np.array([[at + 0.5] for at in range(30)])
    assert model.predict(file, ages).csv == predicted.csv
    assert model.predict(file, ages[:0]).predictions.shape == (0,)
