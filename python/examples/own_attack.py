"""An attack of one's own against two rules of one's own, and against merged rounds, in simulated time:
python own_attack.py [ROUNDS]"""

import sys

import numpy as np

from colearn_client import simulate
from colearn_client.simulation import Seen, Sent

LEARNERS, ATTACKERS = 10, (0, 2, 4)


def backwards(seen: Seen) -> np.ndarray:
    """The opposite of what the honest have learned, as far as the farthest of them went."""
    steps = seen.honest - seen.base
    against = -steps.mean(axis=0)
    farthest = np.linalg.norm(steps, axis=1).max()
    return seen.base + against * farthest / np.linalg.norm(against)


def mean(sent: Sent) -> np.ndarray:
    """All count by their rows."""
    return sent.weights @ sent.updates


def trimmed(sent: Sent) -> np.ndarray:
    """Of each number the largest and the smallest are left out, three of ten on each side."""
    out = 3 * len(sent.updates) // 10
    return np.sort(sent.updates, axis=0)[out : len(sent.updates) - out].mean(axis=0)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    scenario = {"task": "digits", "learners": LEARNERS, "rounds": rounds, "split": "dirichlet:0.5"}
    ways = {
        "mean": {"merge": mean},
        "trimmed mean": {"merge": trimmed},
        # On a ledger, by the rules that its members can agree on.
        "merged rounds": {"plan": {"merging": {}}},
    }
    print("accuracy after", rounds, "rounds, by attackers of", LEARNERS)
    print(f"{'':15}" + "".join(f"{count:>7}" for count in ATTACKERS))
    for name, way in ways.items():
        scores = []
        for count in ATTACKERS:
            faults = {"learners": list(range(2, 2 + count)), "attack": "own", "vote": "colludes"}
            attacked = {**scenario, "plan": way.get("plan", {}), "faults": [faults] if count else []}
            attack = backwards if count else None
            scores.append(simulate(attacked, attack=attack, merge=way.get("merge")).final_score)
        print(f"{name:15}" + "".join(f"{score:7.2f}" for score in scores))


if __name__ == "__main__":
    main()
