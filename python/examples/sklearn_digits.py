"""Five scikit-learn learners share the digits and train one model on a node of this machine.

Run it: ``python sklearn_digits.py [ROUNDS]``. The same learners take part in a real experiment with
``colearn_client.run(learner, node=..., experiment=..., key=...)``.
"""

import sys
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

from colearn_client import SklearnLearner, run_local

LEARNERS = 5
rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15

x, y = load_digits(return_X_y=True)
order = np.random.default_rng(1).permutation(len(y))
x, y = x[order] / 16, y[order]


def share(at: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every fifth row: 70 % to train on, 15 % each to vote on and to test on."""
    own_x, own_y = x[at::LEARNERS], y[at::LEARNERS]
    cuts = [int(0.7 * len(own_y)), int(0.85 * len(own_y))]
    return list(zip(np.split(own_x, cuts), np.split(own_y, cuts), strict=True))


learners = [
    SklearnLearner(
        SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.01, random_state=at),
        *share(at),
        classes=np.arange(10),
    )
    for at in range(LEARNERS)
]
started = time.monotonic()
experiment = run_local(learners, rounds=rounds)
seconds = time.monotonic() - started
for item in experiment.rounds:
    score = item.mean_test_score()
    print(f"round {item.number:>2}: {item.verdict}, mean test accuracy {score:.3f}")
final = [learner.estimator.score(*share(at)[2]) for at, learner in enumerate(learners)]
print(f"final mean accuracy {np.mean(final):.3f}, {seconds:.1f} s with the node's start")
