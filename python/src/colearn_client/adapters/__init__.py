"""Learners around the models of well-known libraries. Each imports its library when it is used."""

from .base import ModelLearner
from .flower import FlowerLearner
from .forest import ForestLearner
from .keras import KerasLearner
from .lightgbm import LightGBMLearner
from .mli import MliLearner
from .sklearn import SklearnLearner
from .torch import TorchLearner
from .xgboost import XGBoostLearner

__all__ = [
    "FlowerLearner",
    "ForestLearner",
    "KerasLearner",
    "LightGBMLearner",
    "MliLearner",
    "ModelLearner",
    "SklearnLearner",
    "TorchLearner",
    "XGBoostLearner",
]
