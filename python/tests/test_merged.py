"""Merged rounds: everybody trains, and all vote on two merges."""

from __future__ import annotations

import math
import subprocess

import numpy as np
import pytest
from conftest import program
from lacking import need
from test_adapters import shares
from test_run import new_keys, run_all

from colearn_client import (
    ColearnError,
    MlpLearner,
    Proposal,
    Score,
    Scored,
    Weights,
    XGBoostLearner,
    arrays,
    open,
    run_local,
)
from colearn_client.adapters import SklearnLearner
from colearn_client.mlp import describe, untrained

MERGED = {"merging": {}}


class Line:
    """Learns a mean, as one float in safetensors."""

    def __init__(self, own: float) -> None:
        self.own, self.weights = own, save(0.0)

    def propose(self) -> Proposal:
        now = value(self.weights)
        return Proposal(save(now + 0.5 * (self.own - now)))

    def test(self, weights: Weights) -> Score:
        # No finer than that.
        return Score(float(round(-abs(self.own - value(weights)))), approve=True)

    def accept(self, weights: Weights) -> None:
        self.weights = weights

    def current(self) -> Weights:
        return self.weights


def save(number: float) -> Weights:
    return arrays.save({"x": np.float32([number])})


def value(weights: Weights) -> float:
    return float(arrays.load(weights)["x"][0])


def test_what_happened_is_told() -> None:
    told = run_local([Line(it) for it in (10.0, 11.0, 13.0)], MERGED, rounds=3)
    assert [item.verdict for item in told.rounds] == ["accepted"] * 3
    for item in told.rounds:
        assert item.proposer is None and item.merged is not None
        assert len(item.merged["participants"]) == len(item.merged["updates"]) == 3
        assert all(update["merged"] for update in item.merged["updates"].values())
        assert (
            item.merged["accepted"] in ("open", "guarded")
            and item.merged["agreed"]
            and item.merged["bear_open"] == 3
        )
    rounds, votes = told.to_pandas()
    assert len(rounds) == 3 and len(votes) == 9 and rounds["merged"].notna().all()
    assert run_local([Line(1.0), Line(2.0)], rounds=1).rounds[0].merged is None


def test_a_finer_measure_decides_what_is_borne_and_preferred() -> None:
    class Fine(Line):
        measured, compared, broken = 0, 0, False

        def measure(self, scored: Scored) -> float:
            self.measured += 1
            assert scored.score == self.test(scored.weights)
            if self.broken:
                raise RuntimeError("broken")
            return -abs(self.own - value(scored.weights))

        def prefer(self, guarded: Scored, open: Scored) -> bool:
            self.compared += 1
            if self.broken:
                raise RuntimeError("broken")
            return self.measure(guarded) > self.measure(open)

    def rounds(learners):
        return [item.merged for item in run_local(learners, MERGED, rounds=3).rounds]

    # One is louder than the others, who agree that what leaves it out is better.
    values = (1.0, 1.1, 1.2, 0.9, -30.0)
    finely = [Fine(it) for it in values]
    merged = rounds(finely)[0]
    assert merged["agreed"]["guarded"] and merged["prefer_guarded"] == 4
    assert merged["accepted"] == "guarded"
    assert all(learner.measured >= 6 and learner.compared == 3 for learner in finely)
    # Whoever cannot tell decides by its score, and prefers nothing.
    broken = [Fine(it) for it in values]
    for learner in broken:
        learner.broken = True
    merged = rounds(broken)[0]
    assert merged["bear_open"] == 5 and merged["prefer_guarded"] == 0
    assert merged["accepted"] == "open"


def test_adapters_measure_by_loss() -> None:
    need("sklearn")
    from sklearn.linear_model import SGDClassifier

    train, vote, test = next(shares(1))
    few = (vote[0][:8], vote[1][:8])
    spec = untrained(describe(4, 2))
    learners = [
        MlpLearner(train, few, test, initial=spec),
        SklearnLearner(SGDClassifier(loss="log_loss", random_state=1), train, few, test),
    ]
    for learner in learners:
        before, after = learner.current(), learner.propose().weights
        nearly = arrays.load(after)
        nearly = {name: array * array.dtype.type(0.999) for name, array in nearly.items()}
        nearly = arrays.save(nearly, arrays.metadata(after))
        measured = [learner.measure(Scored(it, learner.test(it))) for it in (before, nearly, after)]
        # Accuracy on eight rows does not tell the last two apart.
        assert measured == sorted(set(measured)), measured
        assert learner.test(nearly).vote == learner.test(after).vote
        good, bad = (Scored(it, learner.test(it)) for it in (after, before))
        assert learner.prefer(good, bad) and not learner.prefer(bad, good)
        assert learner.current() == before
    regression = MlpLearner(
        (train[0], train[1] / 1.0), (few[0], few[1] / 1.0), initial=untrained(describe(4, 0))
    )
    weights = regression.current()
    score = regression.test(weights)
    assert regression.measure(Scored(weights, score)) == score.vote
    none = MlpLearner(train, (few[0][:0], few[1][:0]), initial=spec)
    assert math.isnan(none.measure(Scored(spec, none.test(spec))))


def normalised(torch, share, at: int):
    from colearn_client import TorchLearner

    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 2)
    )
    loaders = []
    for x, y in share:
        # Not like the others': what is estimated of them differs.
        inputs = torch.tensor(x + 0.1 * at, dtype=torch.float32)
        data = torch.utils.data.TensorDataset(inputs, torch.tensor(y))
        loaders.append(torch.utils.data.DataLoader(data, batch_size=30))
    return TorchLearner(model, torch.optim.SGD(model.parameters(), lr=0.2), *loaders, epochs=3)


def test_running_statistics_are_merged_without_momentum() -> None:
    torch = need("torch")
    learners = [normalised(torch, share, at) for at, share in enumerate(shares(3))]
    listed = "1.running_mean,1.running_var"
    assert arrays.metadata(learners[0].current()) == {"colearn.statistics": listed}
    trained = [arrays.load(it.propose().weights)["1.running_var"] for it in learners]
    told = run_local(learners, MERGED, rounds=5)
    assert all(item.verdict == "accepted" for item in told.rounds)
    best = max(item.mean_test_score() or 0 for item in told.rounds)
    assert best > 0.85
    final = learners[0].current()
    named = arrays.load(final)
    assert arrays.metadata(final) == {"colearn.statistics": listed}
    assert (named["1.running_var"] > 0).all() and int(named["1.num_batches_tracked"]) > 0
    # The measure is a loss, the same on the same weights.
    scored = Scored(final, learners[0].test(final))
    assert learners[0].measure(scored) == learners[0].measure(scored) < 0
    assert len(trained) == 3


def test_statistics_of_keras_models_are_listed() -> None:
    keras = need("keras")
    from colearn_client import KerasLearner

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()]
    )
    model.compile("sgd", "mse")
    rows = (np.zeros((8, 4)), np.zeros((8, 3)))
    learner = KerasLearner(model, rows, rows)
    weights = learner.current()
    # Kernel, bias, gamma and beta are trained.
    assert arrays.metadata(weights) == {"colearn.statistics": "00004,00005"}
    score = learner.test(weights)
    assert learner.measure(Scored(weights, score)) == score.vote == 0.0


def test_models_that_cannot_be_averaged_are_refused() -> None:
    need("xgboost")
    trees = [XGBoostLearner({"objective": "binary:logistic"}, *share) for share in shares(2)]
    with pytest.raises(ColearnError, match="safetensors"):
        run_local(trees, MERGED, rounds=1)


def test_rust_and_numpy_learners_merge(node, create, tmp_path) -> None:
    need("sklearn")
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = digits.data / 16, digits.target
    rules = ["--max-rounds", "6", "--min-learners", "3", "--ballot", "sealed"]
    create("digits", "--model", "mlp", "--merging", *rules)
    files = new_keys(tmp_path, "abc")
    arguments = ["learner", "--node", node, "--experiment", "digits", "--key", str(files[0])]
    memory = ["--memory", str(tmp_path / "rust"), "--share", "1/3"]
    rust = subprocess.Popen([*program(), *arguments, *memory], stdout=subprocess.PIPE)
    learners = {
        files[at]: MlpLearner(
            (x[at::3][:400], y[at::3][:400]), (x[at::3][400:500], y[at::3][400:500]),
            (x[at::3][500:], y[at::3][500:]), seed=at,
        )
        for at in (1, 2)
    }  # fmt: skip
    run_all(node, "digits", learners)
    rust.communicate(timeout=60)
    assert rust.returncode == 0
    rounds = open(node).experiments()["digits"].rounds
    # All three have computed the same merges, in two languages' processes.
    assert all(item.merged and item.merged["named_another"] == [] for item in rounds)
    assert all(len(item.merged["updates"]) == 3 for item in rounds if item.merged)
    best = max(item.mean_test_score() or 0 for item in rounds)
    assert best > 0.8, best
