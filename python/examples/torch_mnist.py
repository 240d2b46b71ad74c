"""PyTorch learners on MNIST: a small convolutional network, five learners, one model.

Run it: ``python torch_mnist.py MNIST_FOLDER [ROUNDS] [ROWS]``, the folder with the four IDX files.
"""

import gzip
import sys
from pathlib import Path

try:
    import torch
except ImportError:
    raise SystemExit("skipped: torch is not installed; pip install 'colearn-client[torch]'") from None

import numpy as np
from torch.utils.data import DataLoader, TensorDataset

from colearn_client import TorchLearner, run_local

LEARNERS = 5


def idx(path: Path, header: int) -> np.ndarray:
    """The bytes of an IDX file behind its header."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return np.frombuffer(data, np.uint8, offset=header)


def loaders(images: torch.Tensor, labels: torch.Tensor, at: int) -> list[DataLoader]:
    data = TensorDataset(images[at::LEARNERS], labels[at::LEARNERS])
    parts = torch.utils.data.random_split(data, [0.7, 0.15, 0.15])
    return [DataLoader(part, batch_size=32, shuffle=at == 0) for at, part in enumerate(parts)]


def learner(images: torch.Tensor, labels: torch.Tensor, at: int) -> TorchLearner:
    def convolution(inputs: int, outputs: int) -> list[torch.nn.Module]:
        convolution = torch.nn.Conv2d(inputs, outputs, 5, padding=2)
        return [convolution, torch.nn.ReLU(), torch.nn.MaxPool2d(2)]

    layers = [*convolution(1, 16), *convolution(16, 32), torch.nn.Flatten(), torch.nn.Linear(1568, 10)]
    model = torch.nn.Sequential(torch.nn.Unflatten(1, (1, 28, 28)), *layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return TorchLearner(model, optimizer, *loaders(images, labels, at), epochs=2)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("skipped: give the folder with MNIST's IDX files")
    folder = Path(sys.argv[1])
    given = sys.argv[2:4]
    rounds, rows = (int(text) for text in given + ["15", "60000"][len(given) :])
    images = idx(next(folder.glob("train-images*")), 16).reshape(-1, 784)[:rows]
    labels = idx(next(folder.glob("train-labels*")), 8)[:rows]
    x = torch.tensor(images, dtype=torch.float32) / 255
    y = torch.tensor(labels, dtype=torch.long)
    torch.manual_seed(1)
    experiment = run_local([learner(x, y, at) for at in range(LEARNERS)], rounds=rounds)
    for item in experiment.rounds:
        print(f"round {item.number}: {item.verdict}, {item.mean_test_score():.3f}")
