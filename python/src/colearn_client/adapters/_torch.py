"""What the learner around a PyTorch module looks at: names, batches, and what privacy rests on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..errors import ModelError

#: The label that the losses of ``transformers`` pass over.
_IGNORED = -100


def shared(model: Any, parameters: Collection[str] | str | None) -> frozenset[str] | None:
    """The names of what is shared; ``None`` for everything.

    A tensor that has two names is shared under both, or under none.
    """
    if parameters is None:
        return None
    state = model.state_dict(keep_vars=True)
    trained = {name for name, it in _parameters(model) if it.requires_grad} & set(state)
    if parameters == "trainable":
        names = trained | _statistics(model)
    elif isinstance(parameters, str):
        raise ValueError(f'parameters is {parameters!r}; it is "trainable", or the names themselves')
    else:
        names = set(parameters)
    if unknown := sorted(names - set(state))[:5]:
        raise ValueError(f"the model has no {unknown}; model.state_dict() names what there is")
    same = {id(state[name]) for name in names}
    names = {name for name, it in state.items() if id(it) in same}
    if not names & {name for name, _ in _parameters(model)}:
        raise ValueError("nothing that is trained would be shared")
    if left := sorted(trained - names)[:5]:
        raise ValueError(
            f"{left} would be trained and not shared, so that no two learners had the same model; "
            "call requires_grad_(False) on what stays as it is"
        )
    if left := sorted(_statistics(model) - names)[:5]:
        raise ValueError(f"{left} change in training without a gradient; share them, too")
    return frozenset(names)


def _parameters(model: Any) -> Iterable[tuple[str, Any]]:
    """All parameters; those of several names under each."""
    named: Iterable[tuple[str, Any]] = model.named_parameters(remove_duplicate=False)
    return named


def _statistics(model: Any) -> set[str]:
    """The names of what layers estimate in training, such as the running means of BatchNorm."""
    from torch.nn.modules.batchnorm import _NormBase

    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, _NormBase)
        for name, _ in module.named_buffers(recurse=False)
    }


def check_scheduler(scheduler: Any, optimizer: Any) -> None:
    """Refuses a scheduler that cannot take a step of its own after each of the optimizer's.

    Raises
    ------
    ValueError
        Says why.
    """
    import torch

    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise ValueError("ReduceLROnPlateau waits for scores; take a scheduler that goes by steps")
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ValueError("the scheduler is one of another optimizer")


def check_private(model: Any, criterion: Any) -> None:
    """Refuses what mixes the rows of a batch before each one's gradient is clipped.

    Raises
    ------
    ValueError
        Says what, and what to take instead.
    """
    for name, module in model.named_modules():
        # Opacus looks only at what has a gradient, and these learn without one.
        if _estimates(module):
            raise ValueError(
                f"{name or 'the model'} is a {type(module).__name__}, whose statistics no noise hides; "
                "privacy needs GroupNorm or LayerNorm in its place"
            )
    if getattr(criterion, "weight", None) is not None or criterion_reduces(criterion) != "mean":
        raise ValueError(
            "privacy needs a criterion that is the mean over the rows: no class weights, "
            'reduction="mean"'
        )


def _estimates(module: Any) -> bool:
    from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

    mixes = isinstance(module, _BatchNorm)
    return mixes or (isinstance(module, _NormBase) and module.track_running_stats)


def criterion_reduces(criterion: Any) -> str:
    """How a criterion makes one number of the rows'; a function of one's own is taken at its word."""
    return str(getattr(criterion, "reduction", "mean"))


def check_apart(batch: Any, criterion: Any) -> None:
    """Refuses targets of which a row has several or none: the mean over all would then weigh a row by
    the others, and the clipping norm would bound no row's part.

    Raises
    ------
    ModelError
        Says so.
    """
    named = isinstance(batch, Mapping)
    targets: Any = batch.get("labels") if named else batch[1]
    ignored: Any = _IGNORED if named else getattr(criterion, "ignore_index", None)
    apart = not named or (targets is not None and targets.ndim == 1)
    if not apart or (ignored is not None and bool((targets == ignored).any())):
        raise ModelError(
            "private training takes one label for each row, and none that the loss passes over; with "
            "loss= and a mean over the rows of each one's own loss it can be another"
        )


def check_unchanged(buffers: Iterable[tuple[str, Any]], before: Mapping[str, Any]) -> None:
    """Refuses what private training has changed without noise.

    Raises
    ------
    ModelError
        Names the buffer.
    """
    for name, it in buffers:
        if not bool((it == before[name]).all()):
            raise ModelError(
                f"the buffer {name!r} changed in training, and no noise hides the rows in it"
            )


def copies(named: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Copies of some tensors."""
    return {name: it.detach().clone() for name, it in named}


def no_gradients(model: Any) -> None:
    """Says to Opacus that there were no rows, which not every module can be called with."""
    import torch

    for it in model.parameters():
        if it.requires_grad:
            it.grad_sample = torch.zeros((0, *it.shape), dtype=it.dtype, device=it.device)


def is_empty(batch: Any) -> bool:
    """Whether a batch has no rows."""
    tensors = batch.values() if isinstance(batch, Mapping) else batch
    first = next((it for it in tensors if hasattr(it, "shape")), None)
    return first is not None and (first.ndim == 0 or len(first) == 0)


def rows(batch: Any) -> int:
    """What a batch's mean loss is the mean of: rows, or the labels that count."""
    if not isinstance(batch, Mapping):
        return len(batch[1])
    labels = batch.get("labels")
    if labels is not None:
        return int((labels != _IGNORED).sum())
    return next((len(it) for it in batch.values() if hasattr(it, "shape") and it.ndim > 0), 1)


def are_classes(outputs: Any, targets: Any) -> bool:
    """Whether a model gave a number for each of several classes, and each row has one that is right."""
    if outputs is None or targets is None:
        return False
    several = outputs.ndim == 2 and outputs.shape[1] > 1
    return bool(several and targets.ndim == 1 and not targets.is_floating_point())


def groups(batches: Iterable[Any], size: int) -> Iterable[list[Any]]:
    """Batches by so many; the last ones may be fewer."""
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
