"""Learners in Python for colearn, the ledger backend for collective learning.

    >>> from colearn_client import SklearnLearner, run
    >>> learner = SklearnLearner(SGDClassifier(), train=(X, y), vote=(X_vote, y_vote))
    >>> run(learner, node="http://127.0.0.1:7400", experiment="digits", key="me.pem")

See docs/python.md.
"""

from importlib.metadata import version

from . import adapters, alone, arrays, dp, errors, experiments, keys, metrics, model
from ._core import Client, Key, Weights
from .adapters import (
    FlowerLearner,
    ForestLearner,
    KerasLearner,
    LightGBMLearner,
    MliLearner,
    ModelLearner,
    SklearnLearner,
    TorchLearner,
    XGBoostLearner,
)
from .alone import BesideAlone
from .errors import ColearnError
from .experiments import Created, create_experiment, vote_on_motion
from .learner import (
    Learner,
    Pass,
    Privacy,
    PrivacySegment,
    PrivateProposal,
    Proposal,
    Reason,
    Score,
    Scored,
)
from .ledger import (
    AuditReport,
    Evaluation,
    Experiment,
    Finding,
    Ledger,
    Round,
    Vote,
    audit,
    open,
)
from .local import local_node, run_local
from .mlp import MlpLearner
from .pins import ChainPins, Pins, Reach, Trust
from .progress import Progress
from .run import Event, Summary, run
from .schema import Schema
from .simulation import SimulationCosts, SimulationReport, simulate
from .sweeps import Swept, sweep

__version__ = version("colearn-client")

__all__ = [
    "AuditReport",
    "BesideAlone",
    "ChainPins",
    "Client",
    "ColearnError",
    "Created",
    "Evaluation",
    "Event",
    "Experiment",
    "Finding",
    "FlowerLearner",
    "ForestLearner",
    "KerasLearner",
    "Key",
    "Learner",
    "Ledger",
    "LightGBMLearner",
    "MliLearner",
    "MlpLearner",
    "ModelLearner",
    "Pass",
    "Pins",
    "Privacy",
    "PrivacySegment",
    "PrivateProposal",
    "Progress",
    "Proposal",
    "Reach",
    "Reason",
    "Round",
    "Schema",
    "Score",
    "Scored",
    "SimulationCosts",
    "SimulationReport",
    "SklearnLearner",
    "Summary",
    "Swept",
    "TorchLearner",
    "Trust",
    "Vote",
    "Weights",
    "XGBoostLearner",
    "adapters",
    "alone",
    "arrays",
    "audit",
    "create_experiment",
    "dp",
    "errors",
    "experiments",
    "keys",
    "local_node",
    "metrics",
    "model",
    "open",
    "run",
    "run_local",
    "simulate",
    "sweep",
    "vote_on_motion",
]
