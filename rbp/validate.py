"""What a composed configuration must satisfy beyond its types: every problem is listed, not just one."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp.config import HEADLINES, INITIAL_WEIGHTS, PRECISIONS, PROGRESS, SCHEDULES, SURROGATES, Config
from rbp.errors import ConfigError

Check = Callable[[Any], bool]


def validate(cfg: DictConfig) -> None:
    """Raise ConfigError with every problem of a composed configuration: key, value and what is allowed."""
    if found := problems(cfg):
        raise ConfigError("\n".join(found))


def problems(cfg: DictConfig) -> list[str]:
    """Every problem of a composed configuration, one line each; the machine is not looked at."""
    values = OmegaConf.to_container(cfg, resolve=True)
    found = [f"{key}: no such key; there are {known}" for key, known in _strangers(values, Config)]
    broken = list(_broken_rules(values))
    found += [f"{key}={text(value)}: {allowed}" for key, value, allowed in broken]
    # Rules across groups read values that must be sound themselves.
    sound = _READ_BY_MISFITS.isdisjoint(key for key, _, _ in broken)
    return found + (list(_misfits(cfg)) if sound else [])


def text(value: Any) -> str:
    """A value as one writes it on the command line."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _at_least(low: int) -> tuple[str, Check]:
    return f"must be a whole number, {low} or more", lambda v: _whole(v) and v >= low


def _null_or_at_least(low: int) -> tuple[str, Check]:
    return f"must be null or a whole number, {low} or more", lambda v: v is None or (_whole(v) and v >= low)


def _above(low: float) -> tuple[str, Check]:
    return f"must be a finite number above {low}", lambda v: _number(v) and v > low


def _share(what: str = "must be a number from 0 to below 1") -> tuple[str, Check]:
    return what, lambda v: _number(v) and 0 <= v < 1


def _one_of(options: tuple[str, ...]) -> tuple[str, Check]:
    return "must be one of " + ", ".join(options), lambda v: v in options


_NOT_NEGATIVE: tuple[str, Check] = ("must be a finite number, 0 or more", lambda v: _number(v) and v >= 0)
_YES_NO: tuple[str, Check] = ("must be true or false", lambda v: isinstance(v, bool))
_NULL_OR_NUMBER: tuple[str, Check] = (
    "must be null (soft reset) or a finite number",
    lambda v: v is None or _number(v),
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
_FOLDER: tuple[str, Check] = (
    "must be null or a folder name of letters, digits and . _ - (not first: .)",
    lambda v: v is None or re.fullmatch(r"[\w-][\w.-]*", v) is not None,
)

# One line a key; a key that the chosen option does not have is passed over.
RULES: dict[str, tuple[str, Check]] = {
    "T": _at_least(1),
    "step_mode": _one_of(("m", "s")),
    "grad_mode": _one_of(("bptt", "rate")),
    "seed": _at_least(0),
    "sweep.name": _FOLDER,
    "dataset.channels": _at_least(1),
    "dataset.size": _at_least(1),
    "dataset.classes": _at_least(2),
    "dataset.mean": _MEAN,
    "dataset.std": _STD,
    "dataset.val_split": _share(),
    "dataset.augment.crop": _at_least(0),
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
    "trainer.precision": _one_of(PRECISIONS),
    "trainer.headline": _one_of(HEADLINES),
    "trainer.initial_weights": _one_of(INITIAL_WEIGHTS),
    "trainer.limit_batches": _null_or_at_least(1),
    "trainer.threads": _null_or_at_least(1),
    "trainer.log_every": _at_least(1),
    "trainer.progress": _one_of(PROGRESS),
}


def _strangers(values: Any, schema: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Keys that the schema does not have, got in by +key=value; groups with keys of their own are open."""
    types = {item.name: item.type for item in dataclasses.fields(schema)}
    for name, value in values.items():
        if name not in types:
            yield f"{prefix}{name}", ", ".join(types)
        elif isinstance(kind := types[name], type) and dataclasses.is_dataclass(kind):
            yield from _strangers(value, kind, f"{prefix}{name}.")


_READ_BY_MISFITS = {
    "dataset.size",
    "dataset.channels",
    "neuron.v_threshold",
    "neuron.v_reset",
    "optimizer.warmup_epochs",
    "trainer.epochs",
}


def _broken_rules(values: Any) -> Iterator[tuple[str, Any, str]]:
    for key, (allowed, holds) in RULES.items():
        present, value = _look_up(values, key)
        if present and not holds(value):
            yield key, value, allowed


def _look_up(values: Any, key: str) -> tuple[bool, Any]:
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            return False, None
        values = values[part]
    return True, values


def _misfits(cfg: DictConfig) -> Iterator[str]:
    """Rules across groups and keys."""
    data, arch, neuron, optimizer, trainer = cfg.dataset, cfg.arch, cfg.neuron, cfg.optimizer, cfg.trainer
    if (smallest := arch.get("min_size")) and data.size < smallest:
        yield (
            f"arch={arch.name} with dataset={data.name}: the network halves the image too often for "
            f"{data.size} x {data.size}; it needs at least {smallest} x {smallest}"
        )
    if (wanted := arch.get("channels")) and data.channels != wanted:
        yield (
            f"arch={arch.name} with dataset={data.name}: the images have {data.channels} channels, "
            f"the network takes {wanted}"
        )
    for key in ("mean", "std"):
        if len(data[key]) != data.channels:
            yield f"dataset.{key}={list(data[key])}: must have one number per channel, {data.channels}"
    if data.augment.autoaugment and data.channels != 3:
        yield (
            f"dataset.augment.autoaugment=true with dataset={data.name}: AutoAugment works on 3 colour "
            f"channels, the images have {data.channels}"
        )
    v_reset = neuron.get("v_reset")
    if v_reset is not None and v_reset >= neuron.v_threshold:
        yield f"neuron.v_reset={v_reset}: must be null or below neuron.v_threshold={neuron.v_threshold}"
    if optimizer.get("warmup_epochs", 0) >= trainer.epochs:
        warmup = optimizer.warmup_epochs
        yield f"optimizer.warmup_epochs={warmup}: must be below trainer.epochs={trainer.epochs}"
    if cfg.checkpoint is not None and not cfg.eval_only:
        yield f"checkpoint={cfg.checkpoint}: is read with eval_only=true only; a run goes on by itself"
