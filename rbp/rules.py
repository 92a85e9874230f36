"""What each key of a configuration may be: in words for the user, and as a check."""

import re
from collections.abc import Callable
from typing import Any

from rbp.config import (
    FRAMES,
    FRAMES_BY,
    HEADLINES,
    INITIAL_WEIGHTS,
    KERNELS,
    ON_ERROR,
    PRECISIONS,
    PROGRESS,
    SCHEDULES,
    SURROGATES,
    TRACKER_MODES,
    TRACKERS,
)

Check = Callable[[Any], bool]
LARGEST = 1e38  # of float32
MOST_THREADS = 1024


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _at_least(low: int) -> tuple[str, Check]:
    return f"must be a whole number, {low} or more", lambda v: _whole(v) and v >= low


def _null_or_at_least(low: int) -> tuple[str, Check]:
    return f"must be null or a whole number, {low} or more", lambda v: v is None or (_whole(v) and v >= low)


def _null_or_between(low: int, high: int) -> tuple[str, Check]:
    allowed = f"must be null or a whole number from {low} to {high}"
    return allowed, lambda v: v is None or (_whole(v) and low <= v <= high)


def _above(low: float) -> tuple[str, Check]:
    return f"must be a finite number above {low}", lambda v: _number(v) and v > low


def _share(what: str = "must be a number from 0 to below 1") -> tuple[str, Check]:
    return what, lambda v: _number(v) and 0 <= v < 1


def _one_of(options: tuple[str, ...]) -> tuple[str, Check]:
    return "must be one of " + ", ".join(options), lambda v: v in options


def _null_or_one_of(options: tuple[str, ...]) -> tuple[str, Check]:
    allowed = f"must be one of {', '.join(options)} (null only where images are static)"
    return allowed, lambda v: v is None or v in options


_NOT_NEGATIVE: tuple[str, Check] = ("must be a finite number, 0 or more", lambda v: _number(v) and v >= 0)
_YES_NO: tuple[str, Check] = ("must be true or false", lambda v: isinstance(v, bool))
_NULL_OR_NUMBER: tuple[str, Check] = (
    "must be null (soft reset) or a finite number",
    lambda v: v is None or _number(v),
)
_NULL_OR_POSITIVE: tuple[str, Check] = (
    "must be null (never) or a finite number above 0",
    lambda v: v is None or (_number(v) and v > 0),
)
_BETAS: tuple[str, Check] = (
    "must be two numbers from 0 to below 1, such as [0.9,0.999]",
    lambda v: isinstance(v, list) and len(v) == 2 and all(_number(b) and 0 <= b < 1 for b in v),
)
_MEAN: tuple[str, Check] = (
    "must be a list of finite numbers, one per channel",
    lambda v: isinstance(v, list) and all(map(_number, v)),
)
_STD: tuple[str, Check] = (
    "must be a list of finite numbers, 1e-6 or more, one per channel",
    lambda v: isinstance(v, list) and all(_number(s) and s >= 1e-6 for s in v),
)
_DEVICE: tuple[str, Check] = (
    "must be auto, cpu, cuda or one GPU by its number such as cuda:1",
    lambda v: re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(v)) is not None,
)
_NAME: tuple[str, Check] = (
    "must be a name of letters, digits and . _ - (not first: .), since folders are named by it",
    lambda v: v is not None and re.fullmatch(r"[\w-][\w.-]*", str(v)) is not None,
)
_NULL_OR_FOLDER: tuple[str, Check] = (
    "must be null or a folder name of at most 128 letters, digits and . _ - (not first: .)",
    lambda v: v is None or (_NAME[1](v) and len(str(v)) <= 128),
)
# What wandb takes.
_PROJECT: tuple[str, Check] = (
    "must be a name of at most 128 letters, digits and . _ - (not first: .)",
    lambda v: v is not None and _NULL_OR_FOLDER[1](v),
)
_TAGS: tuple[str, Check] = (
    "must be a list of texts of 1 to 64 characters each",
    lambda v: isinstance(v, list) and all(1 <= len(str(tag)) <= 64 for tag in v),
)
_PATH: tuple[str, Check] = ("must be the path of a folder", lambda v: bool(v and v.strip()))
_NULL_OR_PATH: tuple[str, Check] = (
    "must be null or the path of a folder",
    lambda v: v is None or bool(v.strip()),
)
_NULL_OR_FILE: tuple[str, Check] = (
    "must be null or the path of a checkpoint",
    lambda v: v is None or bool(v),
)
_FUNCTION: tuple[str, Check] = (
    "must name a function, such as package.module.function",
    lambda v: isinstance(v, str) and "." in v,
)

# One line a key; a key that the chosen option does not have is passed over, but for those in REQUIRED.
RULES: dict[str, tuple[str, Check]] = {
    "T": _at_least(1),
    "step_mode": _one_of(("m", "s")),
    "grad_mode": _one_of(("bptt", "rate")),
    "seed": _at_least(0),
    "runs_dir": _PATH,
    "checkpoint": _NULL_OR_FILE,
    "sweep.name": _NULL_OR_FOLDER,
    "dataset.name": _NAME,
    "arch.name": _NAME,
    "arch._target_": _FUNCTION,
    "neuron.name": _NAME,
    "neuron._target_": _FUNCTION,
    "optimizer.name": _NAME,
    "optimizer._target_": _FUNCTION,
    "dataset.stage": _NULL_OR_PATH,
    "dataset.channels": _at_least(1),
    "dataset.size": _at_least(1),
    "dataset.classes": _at_least(2),
    "dataset.mean": _MEAN,
    "dataset.std": _STD,
    "dataset.val_split": _share(),
    "dataset.frames": _null_or_one_of(FRAMES),
    "dataset.frames_by": _null_or_one_of(FRAMES_BY),
    "dataset.on_error": _null_or_one_of(ON_ERROR),
    "dataset.split_seed": _null_or_at_least(0),
    "dataset.augment.crop": _at_least(0),
    "dataset.augment.roll": _at_least(0),
    "dataset.augment.cutout": _at_least(0),
    "neuron.tau": _above(1),
    "neuron.init_tau": _above(1),
    "neuron.decay_input": _YES_NO,
    "neuron.v_threshold": _above(0),
    "neuron.v_reset": _NULL_OR_NUMBER,
    "neuron.detach_reset": _YES_NO,
    "neuron.surrogate": _one_of(SURROGATES),
    "neuron.alpha": _above(0),
    "arch.init": _one_of(INITIAL_WEIGHTS),
    "optimizer.lr": _above(0),
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.momentum": _share(),
    "optimizer.betas": _BETAS,
    "optimizer.schedule": _one_of(SCHEDULES),
    "optimizer.warmup_epochs": _at_least(0),
    "trainer.epochs": _at_least(1),
    "trainer.batch_size": _at_least(1),
    "trainer.eval_batch_size": _at_least(1),
    "trainer.device": _DEVICE,
    "trainer.chunk": _null_or_between(1, 10**6),
    "trainer.kernels": _one_of(KERNELS),
    "trainer.precision": _one_of(PRECISIONS),
    "trainer.headline": _one_of(HEADLINES),
    "trainer.initial_weights": _one_of(INITIAL_WEIGHTS),
    "trainer.limit_batches": _null_or_at_least(1),
    "trainer.threads": _null_or_between(1, MOST_THREADS),
    "trainer.checkpoint_minutes": _NULL_OR_POSITIVE,
    "trainer.log_every": _at_least(1),
    "trainer.progress": _one_of(PROGRESS),
    "tracker.name": _one_of(TRACKERS),
    "tracker.mode": _one_of(TRACKER_MODES),
    "tracker.project": _PROJECT,
    "tracker.tags": _TAGS,
}
REQUIRED = {key for key, rule in RULES.items() if rule in (_NAME, _PROJECT, _FUNCTION)}
