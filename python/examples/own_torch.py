"""A PyTorch learner on a CSV file of one's own, in an experiment with others.

Whoever creates the experiment begins with what all of them begin with:
``python own_torch.py --data mine.csv --schema schema.json --initial initial.safetensors``, then
``colearn experiment create NAME --weights initial.safetensors --plan plan.toml --key key.pem``.
Everybody takes part with
``python own_torch.py --data mine.csv --schema schema.json --experiment NAME --key key.pem``.
"""

import argparse
from pathlib import Path

try:
    import torch
except ImportError:
    raise SystemExit("skipped: torch is not installed; pip install 'colearn-client[torch]'") from None

import pandas as pd
from torch.utils.data import DataLoader, TensorDataset, random_split

from colearn_client import Schema, TorchLearner, run

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
x, y = (torch.tensor(part) for part in schema.encode(pd.read_csv(asked.data)))

# 70 % to train on, 15 % to vote on what others propose, 15 % that decide nothing.
torch.manual_seed(1)
parts = random_split(TensorDataset(x, y), [0.7, 0.15, 0.15])
train, vote, test = (DataLoader(part, 32, shuffle=at == 0) for at, part in enumerate(parts))

# All members take the same module; what they train it with is their own.
layers = [torch.nn.Linear(x.shape[1], 32), torch.nn.ReLU(), torch.nn.Linear(32, len(schema.classes))]
model = torch.nn.Sequential(*layers)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
learner = TorchLearner(model, optimizer, train, vote, test, epochs=5)

if asked.initial:
    Path(asked.initial).write_bytes(learner.current().data)
elif asked.experiment and asked.key:
    print(run(learner, asked.node, asked.experiment, asked.key, plan=asked.plan))
else:
    flags.error("say --experiment and --key, or --initial")
