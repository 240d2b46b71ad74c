"""A client written for Flower, unchanged, and no server: ``python flower_client.py [ROUNDS]``.

It needs no Flower; where that is installed the client is a real ``NumPyClient``. Between organisations
each runs ``colearn_client.run(FlowerLearner(client), node=..., experiment=..., key=...)``.
"""

import sys

import numpy as np

from colearn_client import FlowerLearner, run_local

try:
    from flwr.client import NumPyClient
except ImportError:
    NumPyClient = object


class Client(NumPyClient):
    """Logistic regression: nothing here knows of colearn."""

    def __init__(self, seed):
        random = np.random.default_rng(seed)
        self.x = random.normal(size=(200, 4))
        self.y = (self.x @ [1.0, -2.0, 0.5, 0.0] > 0.3).astype(float)

    def _predict(self, parameters, rows):
        weights, bias = parameters
        return 1 / (1 + np.exp(-(self.x[rows] @ weights + bias)))

    def get_parameters(self, config):
        return [np.zeros(4), np.zeros(1)]

    def fit(self, parameters, config):
        weights, bias = parameters
        rows = slice(0, 140)
        for _ in range(config["epochs"]):
            error = self._predict([weights, bias], rows) - self.y[rows]
            weights -= 0.5 * self.x[rows].T @ error / len(error)
            bias -= 0.5 * error.mean()
        return [weights, bias], len(self.y[rows]), {}

    def evaluate(self, parameters, config):
        rows = slice(140, 200)
        p, y = np.clip(self._predict(parameters, rows), 1e-9, 1 - 1e-9), self.y[rows]
        loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
        return float(loss), len(y), {"accuracy": float(np.mean((p > 0.5) == y))}


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    options = {"metric": "accuracy", "fit_config": {"epochs": 20}}
    learners = [FlowerLearner(Client(seed), **options) for seed in range(3)]
    run_local(learners, {"merging": {}}, rounds=rounds)
    final = [learner.test(learner.current()).vote for learner in learners]
    print(f"accuracy {np.mean(final):.3f} after {rounds} merged rounds")
