"""Resuming of a training: what is taken over from a ``last.ckpt``, which may come from anybody.

Lightning and torch copy states into their objects as they are, and delete the file that a state of ``ModelCheckpoint``
names. So only states of the form that the run would save itself are let through, and none that names files.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from packaging.version import InvalidVersion, Version
from pytorch_lightning.callbacks import Checkpoint as CheckpointCallback
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from common.errors import InputError
from common.files import check_readable
from common.pickles import read_pickle
from common.weights import N_LISTED, state_dict_of

VERSION = "pytorch-lightning_version"
OLDEST_VERSION = "2.0.0"
"""Lightning rewrites states that are older, without any check."""
KEPT = (
    "epoch",
    "global_step",
    VERSION,
    "state_dict",
    "loops",
    "callbacks",
    "optimizer_states",
    "lr_schedulers",
    "config",
)
"""Parts of a checkpoint that a run takes over; the state of its precision, if any, is one more."""


LAST = "last"
"""Value of ``ckpt`` that goes on with the run of the same name, if there is one."""


def chosen_checkpoint(ckpt: Any, last: Path) -> str | None:
    """Return the checkpoint to resume from, that ``ckpt`` of the configuration names, or None.

    Args:
        ckpt: a file, ``last``, or None.
        last: the last checkpoint of the run of this name, whether it is there or not.
    """
    if ckpt == LAST:
        return str(last) if last.exists() else None
    return None if ckpt is None else str(ckpt)  # a number can be a file name


def check_start(start: Path | None, ckpt: str | None) -> None:
    """Refuse, before any work, to start from a file that is not there, or from one and resume another.

    Raises:
        InputError: ``start`` cannot be read, or ``ckpt`` is given too.
    """
    if start is None:
        return
    if ckpt is not None:
        raise InputError(f"ckpt={ckpt} resumes a run, start={start} starts a new one; give one of them.")
    try:
        check_readable(start)
    except InputError as error:
        raise InputError(f"start={start} does not work: {error}") from error


def check_resuming(ckpt: str | None, last: Path) -> None:
    """Refuse to resume from what is no training checkpoint, and to write over a run by mistake.

    Raises:
        InputError: ``ckpt`` cannot be resumed from, or the run ``last`` belongs to is there and not resumed.
    """
    if ckpt is None:
        if last.exists():
            raise InputError(f"{last.parent.parent} holds a run; resume it with ckpt={last}, or choose another TAG.")
        return
    other = InputError(f"ckpt={ckpt} is no training checkpoint; give the last.ckpt of the run to resume.")
    if Path(ckpt).suffix != ".ckpt":
        raise other
    content = read_pickle(Path(ckpt))
    state_dict_of(content, ckpt)
    if not isinstance(content.get("config"), dict) or not isinstance(content.get(VERSION), str):
        raise other
    try:
        is_old = Version(content[VERSION]) < Version(OLDEST_VERSION)
    except InvalidVersion as error:
        raise other from error
    if is_old:
        raise InputError(f"ckpt={ckpt} is of Lightning {content[VERSION]}; expected {OLDEST_VERSION} or later.")


def take_over(
    checkpoint: dict[str, Any],
    trainer: pl.Trainer,
    weights: Sequence[nn.Parameter],
    make_optimizer: Callable[[Sequence[nn.Parameter]], tuple[Optimizer, LRScheduler | None]],
) -> None:
    """Take out of a loaded checkpoint what a run does not take over, and check the form of the rest.

    Args:
        checkpoint: what Lightning read; changed in place.
        trainer: the trainer that resumes, its callbacks set up.
        weights: those that are trained.
        make_optimizer: makes the optimiser, and the schedule if any, of some weights.

    Raises:
        InputError: a state has another form than the run itself would save; names up to ten places.
    """
    precision = type(trainer.precision_plugin).__qualname__
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    own = {
        "loops": {"fit_loop": trainer.fit_loop.state_dict()},
        "callbacks": {c.state_key: c.state_dict() for c in callbacks if not isinstance(c, CheckpointCallback)},
        precision: trainer.precision_plugin.state_dict(),
    } | _optimizer_states(weights, make_optimizer)
    for key in checkpoint.keys() - {*KEPT, precision}:
        del checkpoint[key]
    for key in ("loops", "callbacks"):  # states that this run has nothing to put into
        if isinstance(checkpoint.get(key), dict):
            checkpoint[key] = {name: state for name, state in checkpoint[key].items() if name in own[key]}
            own[key] = {name: state for name, state in own[key].items() if name in checkpoint[key] or key == "loops"}
    if precision not in checkpoint:  # where it has none
        del own[precision]
    check_form({key: checkpoint.get(key) for key in own}, own)


def _optimizer_states(
    weights: Sequence[nn.Parameter],
    make_optimizer: Callable[[Sequence[nn.Parameter]], tuple[Optimizer, LRScheduler | None]],
) -> dict[str, Any]:
    """Return states of optimiser and schedule in the form that they have after a step.

    What the optimiser keeps for each weight is seen after a step with a single number.
    """
    number = nn.Parameter(torch.zeros(1))
    number.grad = torch.zeros(1)
    trial, _ = make_optimizer([number])
    trial.step()
    kept: dict[str, Any] = next(iter(trial.state_dict()["state"].values()), {})
    optimizer, scheduler = make_optimizer(weights)
    in_order = [weight.detach() for group in optimizer.param_groups for weight in group["params"]]
    state = optimizer.state_dict()
    state["state"] = _PerWeight(
        (i, {key: weight if isinstance(value, Tensor) and value.ndim else value for key, value in kept.items()})
        for i, weight in enumerate(in_order)
    )
    return {"optimizer_states": [state], "lr_schedulers": [] if scheduler is None else [scheduler.state_dict()]}


class _PerWeight(dict[int, Any]):
    """States by weight; those of weights that had no gradient yet may be missing."""


def check_form(found: Any, own: Any) -> None:
    """Refuse a state to resume from that has another form than a state of this run.

    Raises:
        InputError: keys, kinds of values or shapes differ; names up to ten places.
    """
    places = list(_other_form(found, own, ""))
    if places:
        raise InputError(
            f"The checkpoint to resume holds other states than this run would save ({', '.join(places[:N_LISTED])}); "
            "give the last.ckpt of the same configuration, or start a new run."
        )


def _other_form(found: Any, own: Any, place: str) -> Iterator[str]:
    """Yield the places where two states have different keys, kinds of values or shapes."""
    found, own = (dict(enumerate(part)) if isinstance(part, list | tuple) else part for part in (found, own))
    if not isinstance(own, dict):
        if not _is_alike(found, own):
            yield place
        return
    may_lack = own.keys() if isinstance(own, _PerWeight) else set()
    if not isinstance(found, dict) or not own.keys() - may_lack <= found.keys() <= own.keys():
        yield place
    else:
        for key in found:
            yield from _other_form(found[key], own[key], f"{place}.{key}" if place else str(key))


def _is_alike(found: Any, own: Any) -> bool:
    """Return whether a single value is of the kind, and if a tensor also of the shape, of another."""
    if isinstance(own, Tensor):
        return isinstance(found, Tensor) and found.is_floating_point() and found.shape == own.shape
    if isinstance(own, int | float) and not isinstance(own, bool):
        return isinstance(found, int | float) and not isinstance(found, bool)
    return type(found) is type(own)
