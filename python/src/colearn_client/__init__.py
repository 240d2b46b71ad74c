"""Learners in Python for colearn, the ledger backend for collective learning.

    >>> from colearn_client import SklearnLearner, run
    >>> learner = SklearnLearner(SGDClassifier(), train=(X, y), vote=(X_vote, y_vote))
    >>> run(learner, node="http://127.0.0.1:7400", experiment="digits", key="me.pem")

See docs/python.md.
"""

from . import adapters, arrays, errors, keys
from .adapters import (
    KerasLearner,
    MliLearner,
    ModelLearner,
    SklearnLearner,
    TorchLearner,
    XGBoostLearner,
)
from .connection import Client
from .errors import ColearnError
from .learner import Learner, Pass, PrivacySegment, PrivacySpent, Proposal, Reason, Score, Weights
from .ledger import Evaluation, Experiment, Ledger, Round, Vote, open
from .local import local_node, run_local
from .memory import Memory
from .mlp import MlpLearner
from .run import Event, Summary, run

__version__ = "0.1.0"

__all__ = [
    "Client",
    "ColearnError",
    "Evaluation",
    "Event",
    "Experiment",
    "KerasLearner",
    "Learner",
    "Ledger",
    "Memory",
    "MliLearner",
    "MlpLearner",
    "ModelLearner",
    "Pass",
    "PrivacySegment",
    "PrivacySpent",
    "Proposal",
    "Reason",
    "Round",
    "Score",
    "SklearnLearner",
    "Summary",
    "TorchLearner",
    "Vote",
    "Weights",
    "XGBoostLearner",
    "adapters",
    "arrays",
    "errors",
    "keys",
    "local_node",
    "open",
    "run",
    "run_local",
]
