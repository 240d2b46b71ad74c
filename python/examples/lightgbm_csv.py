"""LightGBM learners on a CSV file, each beside a model of its own rows alone.

Run it: ``python lightgbm_csv.py [FILE.csv COLUMN] [ROUNDS]``; without a file on made-up data.
"""

import csv
import gzip
import sys

try:
    import lightgbm
except ImportError:
    raise SystemExit(
        "skipped: lightgbm is not installed; pip install 'colearn-client[lightgbm]'"
    ) from None

import numpy as np

from colearn_client import LightGBMLearner, run_local

LEARNERS, TREES = 5, 5
arguments = sys.argv[1:]
rounds = int(arguments.pop()) if arguments and arguments[-1].isdigit() else 20
if arguments:
    path, column = arguments
    with (gzip.open if path.endswith(".gz") else open)(path, "rt") as file:
        rows = list(csv.DictReader(file))
    y = np.array([int(row.pop(column)) for row in rows])
    x = np.array([[float(value) for value in row.values()] for row in rows])
else:
    random = np.random.default_rng(1)
    x = random.normal(size=(1500, 6))
    y = ((x[:, 0] * x[:, 1] > 0) ^ (x[:, 2] > 1)).astype(int)

order = np.random.default_rng(2).permutation(len(y))
x, y = x[order], y[order]


def share(at: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every fifth row: 70 % to train on, 15 % each to vote on and to test on."""
    own_x, own_y = x[at::LEARNERS], y[at::LEARNERS]
    cuts = [int(0.7 * len(own_y)), int(0.85 * len(own_y))]
    return list(zip(np.split(own_x, cuts), np.split(own_y, cuts), strict=True))


parameters = {"objective": "binary", "num_leaves": 7, "min_data_in_leaf": 10, "verbosity": -1}
learners = [LightGBMLearner(parameters, *share(at), trees=TREES) for at in range(LEARNERS)]
for item in run_local(learners, rounds=rounds).rounds:
    print(f"round {item.number}: {item.verdict}, mean test accuracy {item.mean_test_score():.3f}")

booster, together, alone = learners[0].booster, [], []
for at in range(LEARNERS):
    train, _, (test_x, test_y) = share(at)
    own = lightgbm.train(parameters, lightgbm.Dataset(*train), booster.current_iteration())
    together.append(np.mean((booster.predict(test_x) > 0.5) == test_y))
    alone.append(np.mean((own.predict(test_x) > 0.5) == test_y))
print(f"{booster.num_trees()} trees together {np.mean(together):.3f}, alone {np.mean(alone):.3f}")
