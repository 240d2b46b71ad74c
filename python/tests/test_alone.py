"""A learner beside a model of its own; needs scikit-learn."""

from __future__ import annotations

import copy
import json
import stat

import numpy as np
import pytest
from lacking import need

from colearn_client import BesideAlone, SklearnLearner, alone, run_local


def test_rows_that_differ_decide():
    told = alone.paired([True] * 5 + [False] * 15 + [True] * 80, [False] * 5 + [True] * 95)
    assert (told["rows"], told["only_alone"], told["only_together"]) == (100, 5, 15)
    assert told["p_value"] == pytest.approx(0.0413894653)
    assert told["difference"] == pytest.approx(0.1)
    assert told["low"] == pytest.approx((16 - 6) / 102 - 1.959963985 * 0.0449481, abs=1e-4)
    same = alone.paired([True, False], [True, False])
    assert (same["p_value"], same["difference"]) == (1.0, 0.0)
    assert alone.paired([], [])["difference"] is None
    with pytest.raises(ValueError, match="same rows"):
        alone.paired([True], [True, False])


def adapter(at: int, rows: int = 60, **more):
    model = need("sklearn.linear_model").SGDClassifier(
        loss="log_loss", learning_rate="constant", eta0=0.05, random_state=at
    )
    random = np.random.default_rng(at)
    x = random.normal(size=(rows + 80, 4))
    y = (x[:, 0] + 2 * x[:, 1] + 0.3 * random.normal(size=len(x)) > 0).astype(int)
    cuts = [rows, rows + 40]
    shares = list(zip(np.split(x, cuts), np.split(y, cuts), strict=True))
    return SklearnLearner(model, *shares, classes=[0, 1], **more)


def test_both_are_compared_after_each_round_that_changes_the_model(tmp_path):
    path, told = tmp_path / "alone.jsonl", []
    first = BesideAlone(adapter(1, hide_scores=True), adapter(1), path, tell=told.append)
    own = BesideAlone(adapter(2), adapter(2), tmp_path / "own.jsonl", effort="own")
    history = run_local([first, own, adapter(3)], rounds=6)
    accepted = [item for item in history.rounds if item.verdict == "accepted"]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == told
    assert len(lines) == len(accepted) > 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for at, line in enumerate(lines):
        assert (line["trainings"], line["rows"], line["metric"]) == (at + 1, 40, "accuracy")
        assert line["low"] <= line["difference"] <= line["high"]
    assert lines[-1]["model"] == history.model
    assert lines[-1]["alone"] > 0.8
    others = [json.loads(line) for line in (tmp_path / "own.jsonl").read_text().splitlines()]
    assert others[-1]["trainings"] <= 2
    assert first.current().digest.hex() == history.model


def test_it_tells_what_it_can_where_rows_are_not_told_apart(tmp_path):
    path = tmp_path / "alone.jsonl"
    by_loss = {"score": lambda model, x, y: -float(np.abs(model.decision_function(x) - y).mean())}
    beside = BesideAlone(adapter(1, **by_loss), adapter(1, **by_loss), path)
    proposed = adapter(2).propose().weights
    beside.accept(proposed)
    beside.accept(proposed)
    (line,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert line["difference"] == pytest.approx(line["together"] - line["alone"])
    assert (line["low"], line["p_value"], line["rows"]) == (None, None, 0)
    assert not hasattr(beside, "media_type")
    with pytest.raises(ValueError, match="each"):
        BesideAlone(adapter(1), adapter(1), path, effort="both")


def test_what_goes_wrong_beside_it_keeps_no_learner_from_taking_part(tmp_path):
    beside = BesideAlone(adapter(1), adapter(1), tmp_path / "nowhere" / "alone.jsonl")
    proposed = adapter(2).propose().weights
    with pytest.warns(UserWarning, match="not recorded"):
        beside.accept(proposed)
    assert beside.current() == proposed
    copied = copy.copy(beside)
    assert copied.current() == proposed


def test_rows_that_come_in_another_order_each_time_are_not_paired():
    torch = need("torch")
    from colearn_client import TorchLearner

    data = torch.utils.data.TensorDataset(torch.randn(64, 4), torch.zeros(64, dtype=torch.long))

    def learner(shuffle: bool) -> TorchLearner:
        torch.manual_seed(1)
        model = torch.nn.Linear(4, 2)
        loaders = [torch.utils.data.DataLoader(data, batch_size=16, shuffle=shuffle) for _ in range(3)]
        return TorchLearner(model, torch.optim.SGD(model.parameters(), lr=0.1), *loaders)

    score, rights = learner(False).tested(learner(False).current())
    assert rights is not None and rights.mean() == pytest.approx(score)
    score, rights = learner(True).tested(learner(True).current())
    assert rights is None and score is not None
