"""Models that only members can read."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import colearn
from test_merged import Line, save, value
from test_run import new_keys, run_all

from colearn_client import Client, create_experiment, run
from colearn_client.errors import ModelError


def test_learners_are_given_models_and_the_node_their_encryption(node: str, tmp_path: Path) -> None:
    file, creator = tmp_path / "model.keys", tmp_path / "creator.pem"
    colearn("model", "keys", "new", str(file))
    plan = {"merging": {}, "min_learners": 2, "max_rounds": 2}
    create_experiment(node, "x", creator, save(0.0), plan, model_keys=file)
    with pytest.raises(ModelError, match="--model-keys"):
        run(Line(1.0), node, "x", creator, progress=False)
    file.chmod(0o644)
    with pytest.raises(ModelError, match="chmod 600"):
        run(Line(1.0), node, "x", creator, model_keys=file, progress=False)
    file.chmod(0o600)
    learners = dict(zip(new_keys(tmp_path, "ab"), (Line(1.0), Line(2.0)), strict=True))
    ended = run_all(node, "x", learners, model_keys=file)
    models = {summary.model for summary in ended}
    assert len(models) == 1
    first, second = learners.values()
    assert value(first.current()) == value(second.current()) != 0
    with Client(node) as client:
        state = client.experiment("x")["model"]
        found = client.download(bytes.fromhex(state["digest"]), state["size"])
    # Opened it is what they have.
    encrypted, opened = tmp_path / "encrypted", tmp_path / "opened"
    encrypted.write_bytes(found.data)
    assert b"dtype" not in found.data
    colearn("model", "decrypt", str(encrypted), "--model-keys", str(file), "--out", str(opened))
    assert opened.read_bytes() == first.current().data
