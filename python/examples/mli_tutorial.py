"""A class written for the original interface runs unchanged: ``python mli_tutorial.py [ROUNDS]``."""

import sys

import numpy as np

from colearn_client import MliLearner, run_local


class Weights:
    def __init__(self, weights):
        self.weights = weights


class ProposedWeights:
    def __init__(self, weights, vote_score, test_score, vote):
        self.weights, self.vote = weights, vote
        self.vote_score, self.test_score = vote_score, test_score


class LinearRegression:
    """The original's five methods, and nothing of this package."""

    def __init__(self, seed):
        random = np.random.default_rng(seed)
        self.x, self.w = random.normal(size=(100, 3)), np.zeros(3)
        self.y = self.x @ np.array([1.0, -2.0, 0.5]) + 0.1 * random.normal(size=100)

    def _error(self, w, rows):
        return float(np.mean((self.x[rows] @ w - self.y[rows]) ** 2))

    def mli_propose_weights(self):
        w = self.w.copy()
        for _ in range(10):
            w -= 0.1 * self.x[:60].T @ (self.x[:60] @ w - self.y[:60]) / 60
        return Weights(w)

    def mli_test_weights(self, weights):
        new, old = self._error(weights.weights, slice(60, 80)), self._error(self.w, slice(60, 80))
        return ProposedWeights(
            weights.weights, new, self._error(weights.weights, slice(80, 100)), new <= old
        )

    def mli_accept_weights(self, weights):
        self.w = weights.weights

    def mli_get_current_weights(self):
        return Weights(self.w)

    def mli_get_current_model(self):
        return None


if __name__ == "__main__":
    learners = [MliLearner(LinearRegression(seed)) for seed in range(3)]
    run_local(learners, rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 9)
    print("shared weights", np.round(learners[0].mli.w, 2), "of true weights [1, -2, 0.5]")
