"""XGBoost learners on a CSV file: each proposal adds trees to a shared forest.

Run it: ``python xgboost_csv.py [FILE.csv COLUMN] [ROUNDS]``; without a file on made-up data.
"""

import csv
import gzip
import sys

try:
    import xgboost  # noqa: F401
except ImportError:
    raise SystemExit(
        "skipped: xgboost is not installed; pip install 'colearn-client[xgboost]'"
    ) from None

import numpy as np

from colearn_client import XGBoostLearner, run_local

LEARNERS = 3
arguments = sys.argv[1:]
rounds = int(arguments.pop()) if arguments and arguments[-1].isdigit() else 9
if arguments:
    path, column = arguments
    with (gzip.open if path.endswith(".gz") else open)(path, "rt") as file:
        rows = list(csv.DictReader(file))
    y = np.array([float(row.pop(column)) for row in rows])
    x = np.array([[float(value) for value in row.values()] for row in rows])
else:
    random = np.random.default_rng(1)
    x = random.normal(size=(1500, 6))
    y = ((x[:, 0] * x[:, 1] > 0) ^ (x[:, 2] > 1)).astype(float)

order = np.random.default_rng(2).permutation(len(y))
x, y = x[order], y[order]


def share(at: int) -> list[tuple[np.ndarray, np.ndarray]]:
    own_x, own_y = x[at::LEARNERS], y[at::LEARNERS]
    cuts = [int(0.7 * len(own_y)), int(0.85 * len(own_y))]
    return list(zip(np.split(own_x, cuts), np.split(own_y, cuts), strict=True))


parameters = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1}
learners = [XGBoostLearner(parameters, *share(at), trees=5) for at in range(LEARNERS)]
for item in run_local(learners, rounds=rounds).rounds:
    print(f"round {item.number}: {item.verdict}, mean test accuracy {item.mean_test_score():.3f}")
print(f"the shared model has {learners[0].booster.num_boosted_rounds()} trees")
