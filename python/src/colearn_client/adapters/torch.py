"""PyTorch models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import arrays
from ..learner import Pass, PrivacySpent, Weights
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

    def _train(self) -> PrivacySpent | Pass | None:
        if self._engine is not None and self._budget is not None:
            more = self._epochs * len(self._train_loader)
            if self._epsilon_after(more) > self._budget:
                return Pass(exhausted=True)
        training = self._private if self._engine is not None else self.model
        training.train()
        for _ in range(self._epochs):
            for inputs, targets in self._train_loader:
                self._optimizer.zero_grad()
                outputs = training(inputs.to(self._device))
                self.criterion(outputs, targets.to(self._device)).backward()
                self._optimizer.step()
        if self._engine is None:
            return None
        history = self._engine.accountant.history
        return PrivacySpent(
            epsilon=self._engine.get_epsilon(self._delta),
            delta=self._delta,
            noise_multiplier=self._noise,
            clip=self._clip,
            sampling_rate=1 / len(self._train_loader),
            steps=sum(steps for _, _, steps in history),
        )

    def _epsilon_after(self, more: int) -> float:
        accountant = self._engine.accountant
        before = list(accountant.history)
        accountant.history.append((self._noise, 1 / len(self._train_loader), more))
        try:
            return float(accountant.get_epsilon(self._delta))
        finally:
            accountant.history = before

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
