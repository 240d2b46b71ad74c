"""Clients written for Flower, with ``get_parameters``, ``fit`` and ``evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import arrays
from .._core import Weights
from ..errors import ModelError
from ..learner import Pass
from .base import ModelLearner

Parameters = list[npt.NDArray[Any]]
Config = Mapping[str, Any] | Callable[[int], Mapping[str, Any]]

#: How many evaluations are remembered: of the present model and of the two merges of a round.
_REMEMBERED = 4


class FlowerLearner(ModelLearner):
    """A learner around a Flower ``NumPyClient``, or anything with its methods, unchanged. Flower itself
    is not needed, and no server of it.

    ``fit`` trains a proposal, ``evaluate`` decides votes. Both are given the parameters each time, as
    Flower does. What they say of no examples passes, or abstains.

    Parameters
    ----------
    client
        With ``fit(parameters, config)``, ``evaluate(parameters, config)`` and, unless it takes the
        experiment's first model, ``get_parameters(config)``.
    metric
        Which of ``evaluate``'s metrics is the score, such as ``"accuracy"``; higher is better. Without
        it the score is the negative loss.
    fit_config
        What ``fit`` gets as its config, or a function of ``server_round``: how often this client has
        trained, this time included. The config has that, too, unless it is given here.
    evaluate_config
        The same for ``evaluate``.
    names
        What the parameters are called in the weights, in order; by default numbers.
    statistics
        Those of the names that are estimated and not trained, such as running variances, for merged
        rounds.
    margin
        Approve what is not worse than now by more than this.
    hide_scores
        Record no scores.
    """

    def __init__(
        self,
        client: Any,
        *,
        metric: str | None = None,
        fit_config: Config | None = None,
        evaluate_config: Config | None = None,
        names: Sequence[str] | None = None,
        statistics: Sequence[str] = (),
        margin: float = 0.0,
        hide_scores: bool = False,
    ) -> None:
        super().__init__(margin=margin, hide_scores=hide_scores)
        for method in ("fit", "evaluate"):
            if not callable(getattr(client, method, None)):
                raise ModelError(f"{type(client).__name__} has no {method}(parameters, config)")
        self.client = client
        self._metric = metric
        self._fit_config = fit_config
        self._evaluate_config = evaluate_config
        self._names = None if names is None else list(names)
        self._statistics = list(statistics)
        self._trained = 0
        self._live: Parameters | None = None
        self._evaluated: dict[bytes, tuple[float, int, Mapping[str, Any]]] = {}

    def _save(self) -> Weights:
        return arrays.save(self._named(self._own()), statistics=self._statistics)

    def _load(self, weights: Weights) -> None:
        loaded = arrays.load(weights)
        own = self._live if self._live is not None else self._initial()
        if own is not None:
            arrays.check_like(loaded, self._named(own))
            names = list(self._named(own))
        else:
            # Which parameter comes first is said by their names only.
            names = self._names or _numbers(len(loaded))
            if set(names) != set(loaded):
                raise ModelError(
                    f"the weights have {sorted(loaded)[:5]}; say in which order they are the client's "
                    "parameters: names=[...]"
                )
        self._live = [np.array(loaded[name]) for name in names]

    def _train(self) -> Pass | None:
        own = self._named(self._own())
        self._trained += 1
        trained, examples, _ = self.client.fit(self._copies(), self._config(self._fit_config))
        if examples == 0:
            return Pass(reason="too_little_data")
        named = self._named([np.asarray(array) for array in trained])
        arrays.check_like(named, own)
        # Of the kind that the others have: NumPy computes in 64 bits unasked.
        self._live = [named[name].astype(own[name].dtype, copy=False) for name in own]
        return None

    def _score(self, test: bool) -> float | None:
        if test:
            return None
        loss, examples, metrics = self._evaluate()
        if examples == 0:
            return None
        if self._metric is None:
            return -loss
        if self._metric not in metrics:
            known = ", ".join(sorted(metrics)) or "none"
            raise ModelError(f"evaluate says no {self._metric!r}; its metrics: {known}")
        return float(metrics[self._metric])

    def _fine_score(self) -> float | None:
        loss, examples, _ = self._evaluate()
        return None if examples == 0 else -loss

    def _evaluate(self) -> tuple[float, int, Mapping[str, Any]]:
        digest = self._save().digest
        if digest not in self._evaluated:
            if len(self._evaluated) >= _REMEMBERED:
                self._evaluated.clear()
            config = self._config(self._evaluate_config)
            loss, examples, metrics = self.client.evaluate(self._copies(), config)
            self._evaluated[digest] = (float(loss), int(examples), metrics or {})
        return self._evaluated[digest]

    def _own(self) -> Parameters:
        """The live parameters; at first those that the client came with."""
        if self._live is None:
            self._live = self._initial()
        if self._live is None:
            kind = type(self.client).__name__
            raise ModelError(f"{kind} has no parameters of its own; it takes the experiment's")
        return self._live

    def _copies(self) -> Parameters:
        """The live parameters, for the client to write to."""
        return [np.array(array) for array in self._own()]

    def _config(self, config: Config | None) -> dict[str, Any]:
        round_number = max(self._trained, 1)
        given = config(round_number) if callable(config) else config
        return {"server_round": round_number, **(given or {})}

    def _initial(self) -> Parameters | None:
        get = getattr(self.client, "get_parameters", None)
        try:
            own = None if get is None else get(config={})
        except NotImplementedError:
            own = None
        # Flower's own class gives nothing where a client does not say otherwise.
        return [np.asarray(array) for array in own] if own else None

    def _named(self, parameters: Parameters) -> dict[str, npt.NDArray[Any]]:
        names = self._names or _numbers(len(parameters))
        if len(names) != len(parameters):
            raise ModelError(f"there are {len(parameters)} parameters, and {len(names)} names")
        return dict(zip(names, parameters, strict=True))


def _numbers(count: int) -> list[str]:
    """What parameters are called that have no names."""
    return [f"{at:05}" for at in range(count)]
