"""Configs without the command line: frozen as `launch.py` freezes them, or the default one with values
changed afterwards, which takes a hundredth of the time that composing takes.
"""

import copy
import functools
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp.config.composition.session import compose
from rbp.sweep.grid.command_line import expand
from rbp.sweep.grid.compose import freeze


def make(*overrides: str) -> DictConfig:
    """The frozen config of a command line."""
    return freeze(compose(expand(overrides)[0]))


made_once = functools.cache(make)  # not to be changed: copy it


def config(**changes: Any) -> DictConfig:
    """The default config with values changed, unfrozen and unchecked; `optimizer__lr` for optimizer.lr."""
    cfg = copy.deepcopy(made_once())
    OmegaConf.set_readonly(cfg, False)
    OmegaConf.set_struct(cfg, False)
    for key, value in changes.items():
        name = "grad_mode.name" if key == "grad_mode" else key.replace("__", ".")
        OmegaConf.update(cfg, name, value)
    return cfg


def as_dict(cfg: DictConfig) -> dict[str, Any]:
    """A config as plain dicts and lists."""
    values: Any = OmegaConf.to_container(cfg)
    assert isinstance(values, dict)
    return values


def leaves(values: dict, prefix: str = "") -> list[str]:
    """The keys of nested dicts, as paths with dots."""
    found = []
    for key, value in values.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return found
