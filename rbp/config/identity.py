"""Which run a configuration is: a hash of what decides its result, and the folder that follows from it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp.config.key import defaults
from rbp.config.schema import GradMode, keys
from rbp.config.versions import first_form

# A run's configuration, frozen: as OmegaConf holds it or as plain values.
Frozen = DictConfig | Mapping[str, Any]


def identity(cfg: Frozen) -> str:
    """Eight hexadecimal digits: the same for two configurations that must give the same result.

    They are those that version 0.1 gave, for every configuration that it could express.
    """
    values: Any = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else cfg
    return hashlib.sha256(json.dumps(first_form(values), sort_keys=True).encode()).hexdigest()[:8]


def not_in_identity() -> list[str]:
    """The keys and groups that do not count: where a run computes and writes, what it shows, labels."""
    return [name for name, key in keys().items() if not key.decides]


def grad_mode(values: Frozen) -> str:
    """The name of a configuration's gradient mode, which may have keys of its own."""
    chosen = values["grad_mode"]  # a plain name in files of version 0.1
    return str(chosen["name"] if isinstance(chosen, Mapping | DictConfig) else chosen)


def grad_mode_settings(values: Frozen) -> dict[str, Any]:
    """The keys of a configuration's gradient mode that are not as usual, by their dotted names."""
    chosen, usual = values["grad_mode"], defaults(GradMode)
    return {f"grad_mode.{key}": chosen[key] for key in usual if chosen.get(key, usual[key]) != usual[key]}


def folder_name(cfg: Frozen) -> str:
    """Readable and unique, for instance cifar10-resnet18-T4-m-rate-s0-1a2b3c4d."""
    parts = [cfg["dataset"]["name"], cfg["arch"]["name"], f"T{cfg['T']}"]
    parts += [cfg["step_mode"], grad_mode(cfg), f"s{cfg['seed']}"]
    return "-".join([*parts, identity(cfg)])


def run_folder(cfg: Frozen) -> Path:
    """The folder of this run: within a sweep, the same identity is the same folder."""
    return sweep_folder(cfg) / folder_name(cfg)


def sweep_folder(cfg: Frozen) -> Path:
    """The folder with the folders of all runs of a sweep; runs_dir/single for single runs."""
    return Path(cfg["runs_dir"]) / (cfg["sweep"]["name"] or "single")
