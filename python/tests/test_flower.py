"""Clients written for Flower take part unchanged. Where Flower is installed, with its own class."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from lacking import need

from colearn_client import FlowerLearner, Pass, Weights, arrays, run_local
from colearn_client.errors import ModelError


class Plain:
    """What Flower's class does where a client says nothing else."""

    def get_parameters(self, config: dict[str, Any]) -> list[Any]:
        return []


class Mean:
    """Looks for the mean of what everybody has; in 64 bits, whatever it is given."""

    def __init__(self, mine: float, examples: int = 10) -> None:
        self.mine, self.examples = mine, examples
        self.configs: list[dict[str, Any]] = []
        self.evaluated = 0

    def get_parameters(self, config: dict[str, Any]) -> list[Any]:
        return [np.zeros(2, np.float32), np.int64(0)]

    def fit(
        self, parameters: list[Any], config: dict[str, Any]
    ) -> tuple[list[Any], int, dict[str, Any]]:
        self.configs.append(config)
        weights, steps = parameters
        # Some clients write to what they are given.
        weights += np.float32(0.5) * (np.float32(self.mine) - weights)
        return [weights.astype(np.float64), steps + 1], self.examples, {}

    def evaluate(
        self, parameters: list[Any], config: dict[str, Any]
    ) -> tuple[float, int, dict[str, Any]]:
        self.evaluated += 1
        loss = float(np.abs(parameters[0] - self.mine).mean())
        return loss, self.examples, {"accuracy": 1 / (1 + loss)}


def test_a_client_takes_part_unchanged() -> None:
    for plan in ({}, {"merging": {}}):
        learners = [FlowerLearner(Mean(mine), margin=1.0) for mine in (1.0, 2.0, 3.0)]
        told = run_local(learners, plan, rounds=6)
        assert len(told.rounds) == 6
        final = arrays.load(learners[0].current())
        assert abs(float(final["00000"][0]) - 2) < 1, plan
        # Their kind is that of the first model, and so is their order.
        assert [array.dtype.name for array in (final["00000"], final["00001"])] == ["float32", "int64"]
        assert {learner.current().digest.hex() for learner in learners} == {told.model}


def test_scores_are_the_metric_or_the_negative_loss() -> None:
    for metric, score in ((None, -2.0), ("accuracy", 1 / 3)):
        learner = FlowerLearner(Mean(2.0), metric=metric)
        proposed = learner.propose()
        assert not isinstance(proposed, Pass)
        assert learner.test(learner.current()).vote == pytest.approx(score)
        judged = learner.test(proposed.weights)
        assert judged.approve and judged.vote > score
        assert learner.test(learner.current()).approve
        assert learner.client.evaluated == 2, "nothing is evaluated twice"
    learner = FlowerLearner(Mean(2.0), metric="auc")
    with pytest.raises(ModelError, match="its metrics: accuracy"):
        learner.test(learner.current())


def test_configs_say_which_round_it_is_to_the_client() -> None:
    learner = FlowerLearner(Mean(2.0), fit_config=lambda number: {"rate": 0.1 / number})
    learner.propose()
    learner.propose()
    assert learner.client.configs == [
        {"server_round": 1, "rate": 0.1},
        {"server_round": 2, "rate": 0.05},
    ]


def test_without_examples_it_passes_and_abstains() -> None:
    learner = FlowerLearner(Mean(2.0, examples=0))
    assert learner.propose() == Pass(reason="too_little_data")
    score = learner.test(learner.current())
    assert (score.approve, score.reason) == (None, "too_little_data")


def test_numbers_that_are_none_do_not_leave() -> None:
    class Diverges(Mean):
        def fit(self, parameters: list[Any], config: dict[str, Any]) -> Any:
            return [np.full(2, 1e300), parameters[1]], 10, {}

    with np.errstate(over="ignore"):
        assert FlowerLearner(Diverges(2.0)).propose() == Pass(reason="not_finite")


def test_a_client_without_parameters_takes_the_experiments() -> None:
    class Later(Plain, Mean):
        pass

    with pytest.raises(ModelError, match="takes the experiment's"):
        FlowerLearner(Later(2.0)).current()
    first = FlowerLearner(Mean(1.0)).current()
    learner = FlowerLearner(Later(2.0))
    learner.accept(first)
    assert not isinstance(learner.propose(), Pass)
    # Of others the order has to be said.
    named = arrays.save({"step": np.int64(3), "weight": np.ones(2, np.float32)})
    with pytest.raises(ModelError, match="names="):
        FlowerLearner(Later(2.0)).accept(named)
    learner = FlowerLearner(Later(2.0), names=["weight", "step"], statistics=["weight"])
    learner.accept(named)
    proposed = learner.propose()
    assert not isinstance(proposed, Pass)
    assert arrays.load(proposed.weights)["weight"].tolist() == [1.5, 1.5]


def test_what_does_not_fit_says_so() -> None:
    with pytest.raises(ModelError, match="Plain has no fit"):
        FlowerLearner(Plain())
    with pytest.raises(ModelError, match="2 parameters, and 1 names"):
        FlowerLearner(Mean(1.0), names=["weight"]).current()
    for other in (arrays.save({"00000": np.ones(2, np.float32)}), Weights(b"else")):
        with pytest.raises(ModelError):
            FlowerLearner(Mean(1.0)).accept(other)

    class Grows(Mean):
        def fit(self, parameters: list[Any], config: dict[str, Any]) -> Any:
            return [np.ones(3, np.float32), parameters[1]], 10, {}

    with pytest.raises(ModelError, match="'00000' is"):
        FlowerLearner(Grows(1.0)).propose()


def test_flowers_own_class_is_one() -> None:
    need("flwr")
    sys.path.insert(0, str(ROOT / "python" / "examples"))
    try:
        import flower_client
    finally:
        sys.path.pop(0)
    assert flower_client.Client.__mro__[1].__module__.startswith("flwr.")
    client = flower_client.Client(1)
    learner = FlowerLearner(client, metric="accuracy", fit_config={"epochs": 20})
    proposed = learner.propose()
    assert not isinstance(proposed, Pass)
    assert learner.test(proposed.weights).vote > 0.8
