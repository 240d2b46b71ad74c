"""The learner that the tests have in Rust, in Python: counts the rounds that it has accepted."""

import sys

from colearn_client import Proposal, Score, Weights, run


class Counter:
    value = 0

    def propose(self) -> Proposal:
        return Proposal(encode(self.value + 1))

    def test(self, weights: Weights) -> Score:
        value = decode(weights)
        return Score(float(value), approve=value > self.value)

    def accept(self, weights: Weights) -> None:
        self.value = decode(weights)

    def current(self) -> Weights:
        return encode(self.value)


def encode(value: int) -> Weights:
    return Weights(value.to_bytes(8, "big"))


def decode(weights: Weights) -> int:
    return int.from_bytes(weights.data, "big")


node, experiment, key, *trust = sys.argv[1:]
counter = Counter()
run(counter, node, experiment, key, trust=trust[0] if trust else None, progress=False)
print(counter.value)
