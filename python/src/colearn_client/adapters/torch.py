"""PyTorch models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import arrays
from .._core import Weights
from ..learner import Pass, Privacy, PrivacySegment
from .base import ModelLearner


class TorchLearner(ModelLearner):
    """A learner around a ``torch.nn.Module``.

    Every proposal begins with the optimizer as it was given: what it has gathered on the way to weights
    that were not accepted is forgotten.

    Parameters
    ----------
    model
        The module. All learners of an experiment need the same architecture.
    optimizer
        Made from the module's parameters.
    train_loader
        Batches ``(inputs, targets)`` to train on.
    vote_loader
        Batches to vote on.
    test_loader
        Batches that decide nothing.
    criterion
        The loss, ``criterion(outputs, targets)``.
    epochs
        Passes over ``train_loader`` for a proposal.
    loss
        ``loss(model, batch)``, for batches of another form than ``(inputs, targets)``, instead of
        ``criterion``; it moves the batch to the device itself, and goes with a ``score`` of one's own.
    score
        ``score(model, loader)``, higher is better; by default accuracy.
    privacy
        Train with DP-SGD through Opacus: a dict with ``noise_multiplier`` and ``max_grad_norm``, and
        optionally ``delta`` (1e-5) and ``epsilon``, at which the learner proposes no more. What was
        taken is accounted for by this package, not by Opacus.
    device
        Where to compute.
    margin
        Approve what is not worse than now by more than this.
    hide_scores
        Record no scores.
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
        loss: Callable[[Any, Any], Any] | None = None,
        score: Callable[[Any, Iterable[Any]], float] | None = None,
        privacy: dict[str, float] | None = None,
        device: Any = "cpu",
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
        self._loss = loss or self._usual_loss
        self._score_by = score or self._accuracy
        self._trained = self.model
        self._privacy: Privacy | None = None
        if privacy is not None:
            from opacus import PrivacyEngine

            noise, clip = privacy["noise_multiplier"], privacy["max_grad_norm"]
            self._trained, self._optimizer, self._train_loader = PrivacyEngine().make_private(
                module=self.model,
                optimizer=optimizer,
                data_loader=train_loader,
                noise_multiplier=noise,
                max_grad_norm=clip,
            )
            batches = len(self._train_loader)
            planned = PrivacySegment(noise, clip, 1 / batches, epochs * batches)
            self._privacy = Privacy(planned, privacy.get("delta", 1e-5), privacy.get("epsilon"))
        self._fresh = copy.deepcopy(self._optimizer.state_dict())

    def privacy(self) -> Privacy | None:
        """What the next training takes, if it is private."""
        return self._privacy

    def _save(self) -> Weights:
        import torch

        halves, named = set(), {}
        for name, tensor in self.model.state_dict().items():
            tensor = tensor.cpu()
            if tensor.dtype is torch.bfloat16:
                # NumPy has no such numbers: their bits go as they are.
                halves.add(name)
                tensor = tensor.view(torch.int16)
            named[name] = tensor.numpy()
        return arrays.save(named, bfloat16=frozenset(halves), statistics=self._statistics(set(named)))

    def _statistics(self, saved: set[str]) -> list[str]:
        """What is estimated and not trained, such as the running means and variances of BatchNorm."""
        buffers = dict(self.model.named_buffers())
        return [name for name in buffers.keys() & saved if buffers[name].is_floating_point()]

    def _load(self, weights: Weights) -> None:
        import torch

        loaded = arrays.load(weights)
        state = self.model.state_dict()
        arrays.check_like(loaded, {name: _Like(tensor) for name, tensor in state.items()})
        with torch.no_grad():
            for name, tensor in state.items():
                # One at a time: a second model need not fit beside the first. A copy each, since a
                # tensor cannot be made of what must not be written to.
                tensor.copy_(torch.from_numpy(np.array(loaded[name])))

    def _train(self) -> PrivacySegment | Pass | None:
        self._optimizer.load_state_dict(copy.deepcopy(self._fresh))
        self._trained.train()
        steps = 0
        for _ in range(self._epochs):
            for batch in self._train_loader:
                self._optimizer.zero_grad()
                self._loss(self._trained, batch).backward()
                self._optimizer.step()
                steps += 1
        if self._privacy is None:
            return None
        planned = self._privacy.segment
        return PrivacySegment(planned.noise_multiplier, planned.clip, planned.sampling_rate, steps)

    def _usual_loss(self, model: Any, batch: Any) -> Any:
        inputs, targets = batch
        return self.criterion(model(inputs.to(self._device)), targets.to(self._device))

    def _score(self, test: bool) -> float | None:
        import torch

        loader = self._test_loader if test else self._vote_loader
        if loader is None:
            return None
        self.model.eval()
        with torch.no_grad():
            return float(self._score_by(self.model, loader))

    def _fine_score(self) -> float | None:
        import torch

        self.model.eval()
        total, rows = 0.0, 0
        with torch.no_grad():
            for batch in self._vote_loader:
                # A batch of another form counts as one row.
                count = len(batch[1]) if self._loss == self._usual_loss else 1
                total += float(self._loss(self.model, batch)) * count
                rows += count
        return -total / rows if rows else None

    def _accuracy(self, model: Any, loader: Iterable[Any]) -> float:
        right = total = 0
        for inputs, targets in loader:
            best = model(inputs.to(self._device)).argmax(dim=1)
            right += int((best == targets.to(self._device)).sum())
            total += len(targets)
        return right / max(total, 1)


class _Like:
    """What an array of a tensor's numbers is like, without the numbers."""

    def __init__(self, tensor: Any) -> None:
        import torch

        self.shape = tuple(tensor.shape)
        kind = torch.float32 if tensor.dtype is torch.bfloat16 else tensor.dtype
        self.dtype = torch.empty(0, dtype=kind).numpy().dtype
