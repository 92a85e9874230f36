"""Which run a configuration is: a hash of what decides its result, and the folder that follows from it."""

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

# A run's configuration, frozen: as OmegaConf holds it or as plain values.
Settled = DictConfig | Mapping[str, Any]

# What does not decide a run's result: where it runs and writes, what it shows, labels, checks made before it.
# `trainer.initial_weights` acts through the keys that read it (arch.init), which count themselves.
UNDECISIVE = (
    "runs_dir",
    "checkpoint",
    "eval_only",
    "sweep",
    "tracker",
    "dataset.root",
    "dataset.download",
    "dataset.stage",
    "dataset.prepared",
    "dataset.recipe",
    "arch.min_size",
    "arch.channels",
    "trainer.name",
    "trainer.checkpoint_minutes",
    "trainer.chunk",
    "trainer.kernels",
    "trainer.device",
    "trainer.threads",
    "trainer.initial_weights",
    "trainer.log_every",
    "trainer.progress",
)


def identity(cfg: Settled) -> str:
    """Eight hexadecimal digits: the same for two configurations that must give the same result."""
    plain = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else cfg
    values = copy.deepcopy(plain)
    for key in UNDECISIVE:
        _drop(values, key)
    return hashlib.sha256(json.dumps(_canonical(values), sort_keys=True).encode()).hexdigest()[:8]


def folder_name(cfg: Settled) -> str:
    """Readable and unique, for instance cifar10-resnet18-T4-m-rate-s0-1a2b3c4d."""
    parts = [cfg["dataset"]["name"], cfg["arch"]["name"], f"T{cfg['T']}"]
    parts += [cfg["step_mode"], cfg["grad_mode"], f"s{cfg['seed']}"]
    return "-".join([*parts, identity(cfg)])


def run_folder(cfg: Settled) -> Path:
    """The folder of this run: within a sweep, the same identity is the same folder."""
    return sweep_folder(cfg) / folder_name(cfg)


def sweep_folder(cfg: Settled) -> Path:
    """The folder with the folders of all runs of a sweep; runs_dir/single for single runs."""
    return Path(cfg["runs_dir"]) / (cfg["sweep"]["name"] or "single")


def _drop(values: Any, key: str) -> None:
    *parents, last = key.split(".")
    for part in parents:
        values = values.get(part, {})
    values.pop(last, None)


def _canonical(value: Any) -> Any:
    """Whole numbers as floats, so that lr=1 and lr=1.0 are one run."""
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
