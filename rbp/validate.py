"""What a composed configuration must satisfy beyond its types: every problem is listed, not just one."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp.config import Config
from rbp.errors import ConfigError
from rbp.rules import LARGEST, REQUIRED, RULES


def validate(cfg: DictConfig, values: Any = None) -> None:
    """Raise ConfigError with every problem of a composed configuration: key, value and what is allowed."""
    if found := problems(cfg, values):
        raise ConfigError("\n".join(found))


def problems(cfg: DictConfig, values: Any = None) -> list[str]:
    """Every problem of a composed configuration, one line each; the machine is not looked at.

    values: the configuration as plain values, where the caller has them already (of a thousand cells that
    is a third of the time).
    """
    values = OmegaConf.to_container(cfg, resolve=True) if values is None else values
    found = [f"{key}: no such key; there are {known}" for key, known in _strangers(values, Config)]
    large = [(key, value, limit) for key, value in _leaves(values) if (limit := _too_large(value))]
    tall = {key for key, _, _ in large}
    broken = large + [rule for rule in _broken_rules(values) if rule[0] not in tall]
    found += [f"{key}={text(value)}: {allowed}" for key, value, allowed in broken]
    # Rules across groups read values that must be sound themselves.
    sound = _READ_BY_MISFITS.isdisjoint(key for key, _, _ in broken)
    return found + (list(_misfits(cfg)) if sound else [])


def text(value: Any) -> str:
    """A value as one writes it on the command line; a long one is cut."""
    written = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return written if len(written) <= 60 else f"{written[:57]}..."


def _strangers(values: Any, schema: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Keys that the schema does not have, got in by +key=value; groups with keys of their own are open."""
    types = {item.name: item.type for item in dataclasses.fields(schema)}
    for name, value in values.items():
        if name not in types:
            yield f"{prefix}{name}", ", ".join(types)
        elif isinstance(kind := types[name], type) and dataclasses.is_dataclass(kind):
            yield from _strangers(value, kind, f"{prefix}{name}.")


_READ_BY_MISFITS = {
    "arch.name",
    "dataset.augment.crop",
    "dataset.augment.cutout",
    "dataset.augment.roll",
    "dataset.frames",
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
        if (present or key in REQUIRED) and not holds(value):
            yield key, value, allowed


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no group, with its key; those of a list by their numbers."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for name, value in items:
        if isinstance(value, dict | list):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _too_large(value: Any) -> str:
    """What is allowed, for a number that no tensor holds; "" for anything else."""
    if isinstance(value, int) and abs(value) >= 2**63:
        return "must be below 2^63"
    if isinstance(value, float) and LARGEST < abs(value) < math.inf:
        return f"must be at most {LARGEST:g}"
    return ""


def _look_up(values: Any, key: str) -> tuple[bool, Any]:
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            return False, None
        values = values[part]
    return True, values


def _frame_misfits(cfg: DictConfig) -> Iterator[str]:
    """What an event data set must say beyond what a static one does."""
    data = cfg.dataset
    for key in ("frames_by", "on_error", "split_seed"):
        if data[key] is None:
            yield f"dataset.{key}=null: must be set where dataset.frames is"
    if data.T != cfg.T:
        yield f"dataset.T={text(data.T)}: must be the run's T={cfg.T}, as many frames as time steps"


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
    if data.get("frames") is not None:
        yield from _frame_misfits(cfg)
    for key in ("crop", "cutout", "roll"):
        if data.augment.get(key, 0) > data.size:
            yield f"dataset.augment.{key}={data.augment[key]}: must be at most dataset.size={data.size}"
    v_reset, v_threshold = neuron.get("v_reset"), neuron.get("v_threshold")
    if v_reset is not None and v_threshold is not None and v_reset >= v_threshold:
        yield f"neuron.v_reset={v_reset}: must be null or below neuron.v_threshold={v_threshold}"
    if optimizer.get("warmup_epochs", 0) >= trainer.epochs:
        warmup = optimizer.warmup_epochs
        yield f"optimizer.warmup_epochs={warmup}: must be below trainer.epochs={trainer.epochs}"
    tracker = cfg.tracker
    if tracker.name == "none" and tracker.mode != "disabled":
        yield f"tracker.mode={text(tracker.mode)}: must be disabled with tracker=none, which shows nothing"
    if tracker.name == "tensorboard" and tracker.mode == "online":
        yield "tracker.mode=online: must be offline or disabled with tracker=tensorboard, which writes files"
    if cfg.checkpoint is not None and not cfg.eval_only:
        yield f"checkpoint={cfg.checkpoint}: is read with eval_only=true only; a run goes on by itself"
