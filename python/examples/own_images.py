"""A PyTorch learner on images of one's own, in an experiment with others.

The images are in a NumPy archive (.npz): ``x`` of bytes, [images, height, width] or with colours at the
end, and ``y``, class numbers. Whoever creates the experiment begins with what all of them begin with:
``python own_images.py --data mine.npz --classes 10 --initial initial.safetensors``, then
``colearn experiment create NAME --weights initial.safetensors --plan plan.toml --key key.pem``.
Everybody takes part with
``python own_images.py --data mine.npz --classes 10 --experiment NAME --key key.pem``.
"""

import argparse
from pathlib import Path

try:
    import torch
except ImportError:
    raise SystemExit("skipped: torch is not installed; pip install 'colearn-client[torch]'") from None

import numpy as np
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from colearn_client import TorchLearner, run

flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
flags.add_argument("--data", required=True, help="the images (.npz)")
flags.add_argument("--classes", type=int, required=True, help="how many classes there are")
flags.add_argument("--initial", help="write the model that the experiment begins with here, and end")
flags.add_argument("--node", default="http://127.0.0.1:7400", help="the node's address")
flags.add_argument("--experiment", help="the experiment to take part in")
flags.add_argument("--key", help="the private key to sign with")
flags.add_argument("--plan", help="take part only if the experiment follows this plan")
asked = flags.parse_args()

# torchvision's ImageFolder serves as well, with ToTensor(), in place of these lines.
data = np.load(asked.data)
x = torch.tensor(data["x"], dtype=torch.float32) / 255
x = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)
y = torch.tensor(data["y"], dtype=torch.long)

# 70 % to train on, 15 % to vote on what others propose, 15 % that decide nothing.
torch.manual_seed(1)
parts = random_split(TensorDataset(x, y), [0.7, 0.15, 0.15])
train, vote, test = (DataLoader(part, 32, shuffle=at == 0) for at, part in enumerate(parts))

# All members take the same module; what they train it with is their own.
first = [nn.Conv2d(x.shape[1], 16, 3, padding=1), nn.ReLU()]
second = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
model = nn.Sequential(*first, *second, nn.Linear(32 * 4 * 4, asked.classes))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
learner = TorchLearner(model, optimizer, train, vote, test, epochs=2)

if asked.initial:
    Path(asked.initial).write_bytes(learner.current().data)
elif asked.experiment and asked.key:
    print(run(learner, asked.node, asked.experiment, asked.key, plan=asked.plan))
else:
    flags.error("say --experiment and --key, or --initial")
