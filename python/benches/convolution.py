"""What digits cannot show: a convolutional network with batch normalisation on MNIST, in merged rounds
and averaged by a server, with and without an attacker.

Run it: ``python convolution.py MNIST_FOLDER [ROUNDS] [ROWS]``. Of the five learners an attacker sends
random weights.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from torch.utils.data import DataLoader, TensorDataset
from torch_mnist import idx

from colearn_client import (
    ColearnError,
    Proposal,
    Score,
    Scored,
    TorchLearner,
    Weights,
    arrays,
    run_local,
)

LEARNERS = 5


def network() -> torch.nn.Sequential:
    torch.manual_seed(1)

    def block(inputs: int, outputs: int) -> list[torch.nn.Module]:
        convolution = torch.nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return [convolution, torch.nn.BatchNorm2d(outputs), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]

    head = [torch.nn.Flatten(), torch.nn.Linear(16 * 7 * 7, 10)]
    return torch.nn.Sequential(*block(1, 8), *block(8, 16), *head)


def learner(x: torch.Tensor, y: torch.Tensor) -> TorchLearner:
    model = network()
    held = len(y) // 5
    train, vote = TensorDataset(x[held:], y[held:]), TensorDataset(x[:held], y[:held])
    shuffled = torch.Generator().manual_seed(int(y[:20].sum()))
    return TorchLearner(
        model,
        torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        DataLoader(train, batch_size=32, shuffle=True, generator=shuffled),
        DataLoader(vote, batch_size=256),
    )


class Attacker:
    """Sends random weights, and votes for whatever is bad."""

    def __init__(self, honest: TorchLearner) -> None:
        self.honest, self.random = honest, np.random.default_rng(7)

    def propose(self) -> Proposal:
        base = self.honest.current()
        named = {
            name: self.random.normal(size=array.shape).astype(array.dtype)
            for name, array in arrays.load(base).items()
        }
        listed = arrays.metadata(base)["colearn.statistics"].split(",")
        return Proposal(arrays.save(named, statistics=listed))

    def test(self, weights: Weights) -> Score:
        return Score(-self.honest.test(weights).vote, approve=True)

    def measure(self, scored: Scored) -> float:
        return -self.honest.measure(scored)

    def prefer(self, guarded: Scored, open: Scored) -> bool:
        return self.honest.prefer(open, guarded)

    def accept(self, weights: Weights) -> None:
        self.honest.accept(weights)

    def current(self) -> Weights:
        return self.honest.current()


def averaged(updates: list[Weights]) -> Weights:
    """Their mean: what a server makes of them."""
    loaded = [arrays.load(weights) for weights in updates]
    named = {
        name: np.mean([it[name] for it in loaded], axis=0).astype(array.dtype)
        for name, array in loaded[0].items()
    }
    return arrays.save(named, arrays.metadata(updates[0]))


def by_a_server(learners: list, rounds: int) -> Weights:
    for _ in range(rounds):
        model = averaged([it.propose().weights for it in learners])
        for it in learners:
            it.accept(model)
    return learners[0].current()


def compare(
    shares: list, attackers: int, rounds: int, held_out: TensorDataset
) -> tuple[list[str], float]:
    """What merged rounds and a server reach, and the least variance of the former."""

    def learners() -> list:
        made = [learner(x, y) for x, y in shares]
        return [*made[attackers:], *map(Attacker, made[:attackers])]

    merged = learners()
    told = run_local(merged, {"merging": {}}, rounds=rounds)
    assert all(item.merged and not item.merged["named_another"] for item in told.rounds)
    final = merged[0].current()
    variances = [it for name, it in arrays.load(final).items() if name.endswith("running_var")]
    model = network()
    judge = TorchLearner(
        model, torch.optim.SGD(model.parameters()), [], DataLoader(held_out, batch_size=500)
    )
    accuracies = []
    for weights in (final, by_a_server(learners(), rounds)):
        # What is no number cannot be loaded, and is worth nothing.
        try:
            accuracies.append(f"{judge.test(weights).vote:.4f}")
        except ColearnError as error:
            accuracies.append(type(error).__name__)
    return accuracies, min(float(it.min()) for it in variances)


def main() -> None:
    folder = Path(sys.argv[1])
    rounds, rows = (int(text) for text in [*sys.argv[2:], "10", "12000"][:2])

    def read(part: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        images = idx(next(folder.glob(f"{part}-images*")), 16).reshape(-1, 1, 28, 28)[:count]
        labels = idx(next(folder.glob(f"{part}-labels*")), 8)[:count]
        return torch.tensor(images, dtype=torch.float32) / 255, torch.tensor(labels).long()

    x, y = read("train", rows)
    held_out = TensorDataset(*read("t10k", 10_000))
    sorted_rows = torch.argsort(y, stable=True)
    splits = {
        "iid": [torch.arange(at, rows, LEARNERS) for at in range(LEARNERS)],
        "sorted": list(sorted_rows.split(rows // LEARNERS)),
    }
    print("| split | attackers | merged | average | least variance |\n|---|---|---|---|---|")
    for split, parts in splits.items():
        for attackers in (0, 1):
            shares = [(x[at], y[at]) for at in parts]
            scores, least = compare(shares, attackers, rounds, held_out)
            told = " | ".join(scores)
            print(f"| {split} | {attackers} of {LEARNERS} | {told} | {least:.4f} |", flush=True)


if __name__ == "__main__":
    main()
