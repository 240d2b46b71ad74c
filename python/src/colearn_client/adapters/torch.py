"""PyTorch models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import arrays
from ..learner import MAX_SEGMENTS, Pass, PrivacySegment, PrivacySpent, Weights, joined
from .base import ModelLearner


class TorchLearner(ModelLearner):
    """A learner around a ``torch.nn.Module``.

    Args:
        model: The module. All learners of an experiment need the same architecture.
        optimizer: Made from the module's parameters.
        train_loader: Batches ``(inputs, targets)`` to train on.
        vote_loader: Batches to vote on.
        test_loader: Batches that decide nothing.
        criterion: The loss, ``criterion(outputs, targets)``.
        epochs: Passes over ``train_loader`` for a proposal.
        score: ``score(model, loader)``, higher is better; by default accuracy.
        privacy: Train with DP-SGD through Opacus: a dict with ``noise_multiplier`` and
            ``max_grad_norm``, and optionally ``delta`` (1e-5) and ``epsilon``, at which the learner
            proposes no more.
        device: Where to compute.
        margin: Approve what is not worse than now by more than this.
        hide_scores: Record no scores.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        train_loader: Any,
        vote_loader: Iterable[Any],
        test_loader: Iterable[Any] | None = None,
        criterion: Callable[[Any, Any], Any] | None = None,
        *,
        epochs: int = 1,
        score: Callable[[Any, Iterable[Any]], float] | None = None,
        privacy: dict[str, float] | None = None,
        device: str = "cpu",
        margin: float = 0.0,
        hide_scores: bool = False,
    ) -> None:
        import torch

        super().__init__(margin=margin, hide_scores=hide_scores)
        self.model = model.to(device)
        self.criterion = criterion or torch.nn.CrossEntropyLoss()
        self._optimizer, self._train_loader = optimizer, train_loader
        self._vote_loader, self._test_loader = vote_loader, test_loader
        self._epochs, self._device = epochs, device
        self._score_by = score or self._accuracy
        self._engine: Any = None
        if privacy is not None:
            from opacus import PrivacyEngine

            self._delta = privacy.get("delta", 1e-5)
            self._budget = privacy.get("epsilon")
            self._noise, self._clip = privacy["noise_multiplier"], privacy["max_grad_norm"]
            # What was stated before this run, and the least that may be stated now.
            self._before: tuple[PrivacySegment, ...] = ()
            self._least = 0.0
            # The accountant of the privacy loss distribution: tighter than Rényi's.
            self._engine = PrivacyEngine(accountant="prv")
            self._private, self._optimizer, self._train_loader = self._engine.make_private(
                module=self.model,
                optimizer=optimizer,
                data_loader=train_loader,
                noise_multiplier=self._noise,
                max_grad_norm=self._clip,
            )

    def _save(self) -> Weights:
        state = self.model.state_dict()
        return arrays.save({name: tensor.cpu().numpy() for name, tensor in state.items()})

    def _load(self, weights: Weights) -> None:
        import torch

        loaded = arrays.load(weights)
        own = {name: tensor.cpu().numpy() for name, tensor in self.model.state_dict().items()}
        arrays.check_like(loaded, own)
        state = {name: torch.from_numpy(np.array(array)) for name, array in loaded.items()}
        self.model.load_state_dict(state)

    def resume(self, spent: PrivacySpent) -> None:
        """Goes on from what this learner's proposals have revealed, as the ledger has it."""
        if self._engine is None:
            return
        self._before, self._least = tuple(spent.segments), spent.epsilon
        self._delta = max(self._delta, spent.delta)

    def _train(self) -> PrivacySpent | Pass | None:
        spent: PrivacySpent | None = None
        if self._engine is not None:
            # Before the first step: what cannot be accounted for is not done.
            spent = self._after(self._epochs * len(self._train_loader))
            if spent is None or (self._budget is not None and spent.epsilon > self._budget):
                return Pass(exhausted=True)
        training = self._private if self._engine is not None else self.model
        training.train()
        for _ in range(self._epochs):
            for inputs, targets in self._train_loader:
                self._optimizer.zero_grad()
                outputs = training(inputs.to(self._device))
                self.criterion(outputs, targets.to(self._device)).backward()
                self._optimizer.step()
        return spent

    def _after(self, more: int) -> PrivacySpent | None:
        """What will have been revealed after so many more steps, earlier runs included; ``None`` if
        settings have changed more often than a statement can say."""
        rate = 1 / len(self._train_loader)
        done = sum(steps for _, _, steps in self._engine.accountant.history)
        own = PrivacySegment(self._noise, self._clip, rate, done + more)
        segments = tuple(joined([*self._before, own]))
        if len(segments) > MAX_SEGMENTS:
            return None
        epsilon = _epsilon(segments, self._delta)
        # Never less than was stated before, even where another accountant had found more.
        return PrivacySpent(max(epsilon, self._least), self._delta, segments)

    def _score(self, test: bool) -> float | None:
        import torch

        loader = self._test_loader if test else self._vote_loader
        if loader is None:
            return None
        self.model.eval()
        with torch.no_grad():
            return float(self._score_by(self.model, loader))

    def _accuracy(self, model: Any, loader: Iterable[Any]) -> float:
        right = total = 0
        for inputs, targets in loader:
            best = model(inputs.to(self._device)).argmax(dim=1)
            right += int((best == targets.to(self._device)).sum())
            total += len(targets)
        return right / max(total, 1)


def _epsilon(segments: tuple[PrivacySegment, ...], delta: float) -> float:
    """The ε of all these steps together, by Opacus: tight, or where that fails, by Rényi's bound."""
    from opacus.accountants import PRVAccountant, RDPAccountant

    history = [(item.noise_multiplier, item.sampling_rate, item.steps) for item in segments]
    for make in (PRVAccountant, RDPAccountant):
        accountant = make()
        accountant.history = list(history)
        try:
            found = float(accountant.get_epsilon(delta))
        except Exception:
            if make is RDPAccountant:
                raise
            continue
        if np.isfinite(found):
            return found
    return float("inf")
