"""A scikit-learn learner on a CSV file of one's own, in an experiment with others.

Whoever creates the experiment begins with what all of them begin with:
``python own_sklearn.py --data mine.csv --schema schema.json --initial initial.safetensors``, then
``colearn experiment create NAME --weights initial.safetensors --plan plan.toml --key key.pem``.
Everybody takes part with
``python own_sklearn.py --data mine.csv --schema schema.json --experiment NAME --key key.pem``.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import SGDClassifier

from colearn_client import Schema, SklearnLearner, run

flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
flags.add_argument("--data", required=True, help="the CSV file")
flags.add_argument("--schema", required=True, help="what its columns mean (colearn data schema)")
flags.add_argument("--initial", help="write the model that the experiment begins with here, and end")
flags.add_argument("--node", default="http://127.0.0.1:7400", help="the node's address")
flags.add_argument("--experiment", help="the experiment to take part in")
flags.add_argument("--key", help="the private key to sign with")
flags.add_argument("--plan", help="take part only if the experiment follows this plan")
asked = flags.parse_args()

# Rows become numbers as the schema says, which is part of what all agree on.
schema = Schema.read(asked.schema)
x, y = schema.encode(pd.read_csv(asked.data))
order = np.random.default_rng(1).permutation(len(y))
x, y = x[order], y[order]

# 70 % to train on, 15 % to vote on what others propose, 15 % that decide nothing.
cuts = [int(0.7 * len(y)), int(0.85 * len(y))]
train, vote, test = zip(np.split(x, cuts), np.split(y, cuts), strict=True)

# Any estimator with partial_fit or warm_start whose parameters are arrays; all members take the same.
estimator = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.01)
learner = SklearnLearner(estimator, train, vote, test, classes=np.arange(len(schema.classes)))

if asked.initial:
    Path(asked.initial).write_bytes(learner.current().data)
elif asked.experiment and asked.key:
    print(run(learner, asked.node, asked.experiment, asked.key, plan=asked.plan))
else:
    flags.error("say --experiment and --key, or --initial")
