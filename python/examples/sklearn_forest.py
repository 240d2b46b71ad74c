"""Five learners share the digits and grow one random forest: each proposal adds ten trees to it.

Run it: ``python sklearn_forest.py [ROUNDS]``. ``ForestLearner`` takes ``ExtraTreesClassifier``,
``GradientBoostingClassifier`` and the regressors just as well.
"""

import sys

try:
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
except ImportError:
    raise SystemExit(
        "skipped: sklearn is not installed; pip install 'colearn-client[sklearn]'"
    ) from None

import numpy as np

from colearn_client import ForestLearner, run_local

LEARNERS = 5
rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15

x, y = load_digits(return_X_y=True)
order = np.random.default_rng(1).permutation(len(y))
x, y = x[order], y[order]


def share(at: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every fifth row: 70 % to train on, 15 % each to vote on and to test on."""
    own_x, own_y = x[at::LEARNERS], y[at::LEARNERS]
    cuts = [int(0.7 * len(own_y)), int(0.85 * len(own_y))]
    return list(zip(np.split(own_x, cuts), np.split(own_y, cuts), strict=True))


learners = [
    ForestLearner(RandomForestClassifier(random_state=at), *share(at), classes=range(10), trees=10)
    for at in range(LEARNERS)
]
for item in run_local(learners, rounds=rounds).rounds:
    print(f"round {item.number}: {item.verdict}, mean test accuracy {item.mean_test_score():.3f}")

forest = learners[0].estimator
together, alone = [], []
for at in range(LEARNERS):
    train, _, test = share(at)
    own = RandomForestClassifier(forest.n_estimators, random_state=at).fit(*train)
    together.append(forest.score(*test))
    alone.append(own.score(*test))
print(f"{forest.n_estimators} trees together {np.mean(together):.3f}, alone {np.mean(alone):.3f}")
