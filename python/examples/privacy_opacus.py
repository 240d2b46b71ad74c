"""Differential privacy with Opacus: each proposal states what has been revealed so far.

Run it: ``python privacy_opacus.py [ROUNDS]``.
"""

import sys
import warnings

try:
    import opacus  # noqa: F401
    import torch
except ImportError:
    raise SystemExit("skipped: opacus is not installed; pip install 'colearn-client[torch]'") from None

from torch.utils.data import DataLoader, TensorDataset

from colearn_client import TorchLearner, run_local

warnings.simplefilter("ignore")
CLIP, NOISE, EPSILON = 1.0, 0.8, 8.0


def learner(seed: int) -> TorchLearner:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(600, 8, generator=random)
    y = (x[:, 0] + x[:, 1] > 0).long()
    parts = [TensorDataset(x[a:b], y[a:b]) for a, b in [(0, 400), (400, 500), (500, 600)]]
    torch.manual_seed(1)
    model = torch.nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loaders = [DataLoader(part, batch_size=40) for part in parts]
    privacy = {"noise_multiplier": NOISE, "max_grad_norm": CLIP, "epsilon": EPSILON}
    return TorchLearner(model, optimizer, *loaders, epochs=2, privacy=privacy)


# The cap is a rule of the experiment; the node refuses what exceeds it.
plan = {"privacy": {"epsilon": EPSILON, "delta": 1e-5}}
rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
for item in run_local([learner(seed) for seed in range(3)], plan, rounds=rounds).rounds:
    score = item.mean_test_score()
    print(f"round {item.number}: {item.verdict}" + (f", accuracy {score:.3f}" if score else ""))
