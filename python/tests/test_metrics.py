"""Scores by name; those of scikit-learn, where that is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lacking import need

from colearn_client import SklearnLearner, metrics


def test_scores_are_those_of_scikit_learn():
    theirs = need("sklearn.metrics")
    random = np.random.default_rng(1)
    right = random.choice(["red", "blue", "rare"], p=[0.6, 0.35, 0.05], size=400)
    predicted = np.where(random.random(400) < 0.6, right, random.permutation(right))
    predicted[:3] = "unknown"
    assert metrics.accuracy(right, predicted) == pytest.approx(theirs.accuracy_score(right, predicted))
    f1 = theirs.f1_score(right, predicted, average="macro", zero_division=0)
    assert metrics.f1(right, predicted) == pytest.approx(f1)
    known = predicted != "unknown"
    assert metrics.balanced_accuracy(right[known], predicted[known]) == pytest.approx(
        theirs.balanced_accuracy_score(right[known], predicted[known])
    )
    numbers, guesses = random.normal(size=50), random.normal(size=50)
    assert metrics.r2(numbers, guesses) == pytest.approx(theirs.r2_score(numbers, guesses))


def test_what_has_no_score_is_no_number_and_what_does_not_suit_is_refused():
    for score in (metrics.accuracy, metrics.balanced_accuracy, metrics.f1, metrics.r2):
        assert math.isnan(score([], []))
        with pytest.raises(ValueError, match="each row"):
            score([1, 2], [1])
    assert math.isnan(metrics.r2([1.0, 1.0], [1.0, 2.0]))
    with pytest.raises(ValueError, match="predicts a class"):
        metrics.named("r2", classifier=True)
    with pytest.raises(ValueError, match="predicts a number"):
        metrics.named("f1", classifier=False)


def test_an_adapter_takes_a_name():
    linear = need("sklearn.linear_model")
    x = np.random.default_rng(2).normal(size=(120, 3))
    y = (x[:, 0] > 1).astype(int)
    shares = [(x[at::3], y[at::3]) for at in range(3)]
    learner = SklearnLearner(
        linear.SGDClassifier(random_state=1), *shares, classes=[0, 1], score="balanced_accuracy"
    )
    tested = learner.test(learner.propose().weights)
    learner.accept(learner.propose().weights)
    predicted = learner.estimator.predict(shares[1][0])
    assert learner.test(learner.current()).vote == metrics.balanced_accuracy(shares[1][1], predicted)
    assert 0 <= tested.vote <= 1
    with pytest.raises(ValueError, match="'r2'"):
        SklearnLearner(linear.SGDClassifier(), *shares, score="r2")
    SklearnLearner(linear.SGDRegressor(), *shares, score="r2")
