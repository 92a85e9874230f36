"""Identify the run of a configuration by a hash of the keys that decide its result, and name its folder."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp.config.key import defaults
from rbp.config.schema import GradMode, keys
from rbp.config.versions import to_first_version

# A run's frozen configuration, as an OmegaConf node or as plain values.
Frozen = DictConfig | Mapping[str, Any]


def identity(cfg: Frozen) -> str:
    """Return eight hexadecimal digits that are equal for configurations that must give the same result.

    The digits are the same in every version of rbp: those of version 0.1 for every configuration that it
    could express.
    """
    values: Any = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else cfg
    return hashlib.sha256(json.dumps(to_first_version(values), sort_keys=True).encode()).hexdigest()[:8]


def not_in_identity() -> list[str]:
    """Return the keys and groups that do not enter the identity.

    They say where a run computes and writes and what it shows, or are labels.
    """
    return [name for name, key in keys().items() if not key.affects_result]


def grad_mode(values: Frozen) -> str:
    """Return the name of a configuration's gradient mode: bptt or rate."""
    chosen = values["grad_mode"]  # a group of keys today, but a plain name in files of version 0.1
    return str(chosen["name"] if isinstance(chosen, Mapping | DictConfig) else chosen)


def grad_mode_settings(values: Frozen) -> dict[str, Any]:
    """Return the keys of the gradient mode that differ from their defaults, by dotted name."""
    chosen, usual = values["grad_mode"], defaults(GradMode)
    return {f"grad_mode.{key}": chosen[key] for key in usual if chosen.get(key, usual[key]) != usual[key]}


def folder_name(cfg: Frozen) -> str:
    """Return the name of a run's folder, readable and unique.

    For instance: cifar10-resnet18-T4-m-rate-s0-1a2b3c4d.
    """
    parts = [cfg["dataset"]["name"], cfg["arch"]["name"], f"T{cfg['T']}"]
    parts += [cfg["step_mode"], grad_mode(cfg), f"s{cfg['seed']}"]
    return "-".join([*parts, identity(cfg)])


def run_folder(cfg: Frozen) -> Path:
    """Return the folder of a run. Within a sweep, runs of the same identity share a folder."""
    return sweep_folder(cfg) / folder_name(cfg)


def sweep_folder(cfg: Frozen) -> Path:
    """Return the folder that holds all run folders of a sweep; runs_dir/single for single runs."""
    return Path(cfg["runs_dir"]) / (cfg["sweep"]["name"] or "single")
