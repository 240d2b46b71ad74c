"""The learner of examples/own_learner.rs, in Python: together they learn a mean."""

from colearn_client import Pass, Proposal, Score, Weights


class Mean:
    def __init__(self, private: list[float], current: float = 0.0) -> None:
        self.private, self.value = private, current

    def _error(self, guess: float) -> float:
        return sum((x - guess) ** 2 for x in self.private) / len(self.private)

    def propose(self) -> Proposal | Pass:
        mean = sum(self.private) / len(self.private)
        return Proposal(encode(self.value + 0.5 * (mean - self.value)))

    def test(self, weights: Weights) -> Score:
        new, old = self._error(float(weights.data)), self._error(self.value)
        return Score(-new, approve=new <= old)

    def accept(self, weights: Weights) -> None:
        self.value = float(weights.data)

    def current(self) -> Weights:
        return encode(self.value)


def encode(value: float) -> Weights:
    # As Rust writes it: without ".0".
    return Weights((repr(value).removesuffix(".0")).encode())
