"""PyTorch models."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal

import numpy as np

from .. import arrays
from .._core import Weights
from ..errors import ModelError, NotFiniteError
from ..learner import Pass, Privacy, PrivacySegment
from . import _torch as parts
from .base import ModelLearner

#: Where the metadata of weights that are a part of a model says which model the rest is of.
_BASE = "colearn.base"


class TorchLearner(ModelLearner):
    """A learner around a ``torch.nn.Module``, also one of ``transformers`` or ``peft``.

    Every proposal begins with the optimizer and the scheduler as they were given: what they have
    gathered on the way to weights that were not accepted is forgotten.

    A batch is ``(inputs, targets)``, or a mapping that the model is called with (``model(**batch)``)
    and whose loss it gives, as those of ``transformers`` do; then it is scored by accuracy where it
    gives one row of ``logits`` for each of ``batch["labels"]``, and by minus its loss otherwise.

    Parameters
    ----------
    model
        The module. All learners of an experiment need the same architecture; where only a part of it is
        shared, also the same rest.
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
    parameters
        What is shared: names out of ``model.state_dict()``, or ``"trainable"`` for the parameters that
        require a gradient, such as the adapters of ``peft``, and the running statistics of BatchNorm.
        The rest never travels, and weights that belong to another rest are refused. By default
        everything.
    scheduler
        Of the optimizer's learning rate; it takes a step after each of the optimizer's.
    accumulate
        How many batches make a step of the optimizer; their losses are averaged.
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
        parameters: Collection[str] | Literal["trainable"] | None = None,
        scheduler: Any = None,
        accumulate: int = 1,
        loss: Callable[[Any, Any], Any] | None = None,
        score: Callable[[Any, Iterable[Any]], float] | None = None,
        privacy: dict[str, float] | None = None,
        device: Any = "cpu",
        margin: float = 0.0,
        hide_scores: bool = False,
    ) -> None:
        import torch

        super().__init__(margin=margin, hide_scores=hide_scores)
        if accumulate < 1:
            raise ValueError(f"accumulate is {accumulate}, and a step takes one batch or more")
        if privacy is not None and accumulate > 1:
            raise ValueError("privacy and accumulate do not go together: make the batches larger")
        self.model = model.to(device)
        self._shared = parts.shared(self.model, parameters)
        self._base: str | None = None
        self.criterion = criterion or torch.nn.CrossEntropyLoss()
        self._optimizer, self._train_loader = optimizer, train_loader
        self._vote_loader, self._test_loader = vote_loader, test_loader
        self._epochs, self._device = epochs, device
        self._scheduler, self._accumulate = scheduler, accumulate
        if scheduler is not None:
            parts.check_scheduler(scheduler, optimizer)
        self._loss = loss or self._usual_loss
        self._score_by = score or self._accuracy
        self._trained = self.model
        self._privacy: Privacy | None = None
        if privacy is not None:
            from opacus import PrivacyEngine

            parts.check_private(self.model, self.criterion)
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
        self._fresh_scheduler = None if scheduler is None else copy.deepcopy(scheduler.state_dict())

    def privacy(self) -> Privacy | None:
        """What the next training takes, if it is private."""
        return self._privacy

    def _save(self) -> Weights:
        import torch

        halves, named = set(), {}
        for name, tensor in self._state().items():
            tensor = tensor.cpu()
            if tensor.dtype is torch.bfloat16:
                # NumPy has no such numbers: their bits go as they are.
                halves.add(name)
                tensor = tensor.view(torch.int16)
            named[name] = tensor.numpy()
        metadata = None if self._shared is None else {_BASE: self._digest_of_the_rest()}
        statistics = self._statistics(set(named))
        return arrays.save(named, metadata, bfloat16=frozenset(halves), statistics=statistics)

    def _state(self) -> dict[str, Any]:
        """What is shared, by name."""
        state = self.model.state_dict()
        if self._shared is None:
            return dict(state)
        return {name: tensor for name, tensor in state.items() if name in self._shared}

    def _digest_of_the_rest(self) -> str:
        """The SHA-256 of all that is not shared, which no training changes: names, kinds, shapes and
        numbers, in the order of the names."""
        if self._base is None:
            import torch

            digest = hashlib.sha256()
            for name, tensor in sorted(self.model.state_dict().items()):
                if self._shared is None or name in self._shared:
                    continue
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
                digest.update(numbers.numpy().data)
            self._base = digest.hexdigest()
        return self._base

    def _statistics(self, saved: set[str]) -> list[str]:
        """What is estimated and not trained, such as the running means and variances of BatchNorm."""
        buffers = dict(self.model.named_buffers())
        return [name for name in buffers.keys() & saved if buffers[name].is_floating_point()]

    def _load(self, weights: Weights) -> None:
        import torch

        loaded = arrays.load(weights)
        state = self._state()
        if self._shared is not None:
            base, own = arrays.metadata(weights).get(_BASE), self._digest_of_the_rest()
            if base != own:
                raise ModelError(
                    "the weights belong to another model: what they do not hold has the digest "
                    f"{base}, here {own}"
                )
        arrays.check_like(loaded, {name: _Like(tensor) for name, tensor in state.items()})
        with torch.no_grad():
            for name, tensor in state.items():
                # One at a time: a second model need not fit beside the first. A copy each, since a
                # tensor cannot be made of what must not be written to.
                tensor.copy_(torch.from_numpy(np.array(loaded[name])))
                # What was finite in more bits need not be in these.
                if not bool(torch.isfinite(tensor).all()):
                    raise NotFiniteError(f"tensor {name!r} has values that {tensor.dtype} cannot hold")

    def _train(self) -> PrivacySegment | Pass | None:
        self._optimizer.load_state_dict(copy.deepcopy(self._fresh))
        if self._scheduler is not None:
            self._scheduler.load_state_dict(copy.deepcopy(self._fresh_scheduler))
        self._trained.train()
        private = self._privacy is not None
        before = parts.copies(self.model.named_buffers()) if private else {}
        steps = 0
        for _ in range(self._epochs):
            for batches in parts.groups(self._train_loader, self._accumulate):
                self._optimizer.zero_grad()
                for batch in batches:
                    if private and parts.is_empty(batch):
                        # A draw of no rows takes a step of noise alone, and counts.
                        parts.no_gradients(self.model)
                        continue
                    if private and self._loss == self._usual_loss:
                        parts.check_apart(batch, self.criterion)
                    (self._loss(self._trained, batch) / len(batches)).backward()
                self._optimizer.step()
                if self._scheduler is not None:
                    self._scheduler.step()
                steps += 1
        if self._privacy is None:
            return None
        parts.check_unchanged(self.model.named_buffers(), before)
        planned = self._privacy.segment
        return PrivacySegment(planned.noise_multiplier, planned.clip, planned.sampling_rate, steps)

    def _moved(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch that is a mapping, on the device."""
        return {name: it.to(self._device) if hasattr(it, "to") else it for name, it in batch.items()}

    def _usual_loss(self, model: Any, batch: Any) -> Any:
        if isinstance(batch, Mapping):
            return model(**self._moved(batch)).loss
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
        with torch.no_grad():
            return self._minus_loss(self.model, self._vote_loader)

    def _accuracy(self, model: Any, loader: Iterable[Any]) -> float:
        right = total = 0
        outputs: Any
        targets: Any
        for batch in loader:
            if isinstance(batch, Mapping):
                moved = self._moved(batch)
                outputs, targets = getattr(model(**moved), "logits", None), moved.get("labels")
                if not parts.are_classes(outputs, targets):
                    # Not one class for each row: there is the loss to go by.
                    return self._minus_loss(model, loader)
            else:
                outputs, targets = model(batch[0].to(self._device)), batch[1].to(self._device)
            right += int((outputs.argmax(dim=1) == targets).sum())
            total += len(targets)
        return right / max(total, 1)

    def _rights(self) -> Any:
        import torch

        if self._test_loader is None or self._score_by != self._accuracy:
            return None
        sampler = getattr(self._test_loader, "sampler", None)
        if not isinstance(sampler, torch.utils.data.SequentialSampler | None):
            # Its rows come in another order each time: those of two models are not the same ones.
            return None
        self.model.eval()
        rights: list[Any] = []
        with torch.no_grad():
            for batch in self._test_loader:
                if isinstance(batch, Mapping):
                    moved = self._moved(batch)
                    outputs: Any = getattr(self.model(**moved), "logits", None)
                    targets: Any = moved.get("labels")
                    if not parts.are_classes(outputs, targets):
                        return None
                else:
                    outputs = self.model(batch[0].to(self._device))
                    targets = batch[1].to(self._device)
                rights.append((outputs.argmax(dim=1) == targets).cpu().numpy())
        return np.concatenate(rights) if rights else None

    def _minus_loss(self, model: Any, loader: Iterable[Any]) -> float:
        total, rows = 0.0, 0
        for batch in loader:
            # A batch of a form that only its own loss knows counts as one row.
            count = parts.rows(batch) if self._loss == self._usual_loss else 1
            if count > 0:
                total += float(self._loss(model, batch)) * count
                rows += count
        return -total / rows if rows else math.nan


class _Like:
    """What an array of a tensor's numbers is like, without the numbers."""

    def __init__(self, tensor: Any) -> None:
        import torch

        self.shape = tuple(tensor.shape)
        kind = torch.float32 if tensor.dtype is torch.bfloat16 else tensor.dtype
        self.dtype = torch.empty(0, dtype=kind).numpy().dtype
