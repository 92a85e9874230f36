"""A cell of a grid: one run, its frozen config and the values by which it differs from the others."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp.config.identity import folder_name, sweep_folder


@dataclass
class Cell:
    """values: the resolved config in plain values; choices: how the cell differs from the others."""

    values: dict[str, Any]
    choices: dict[str, str] = field(default_factory=dict)

    @cached_property
    def cfg(self) -> DictConfig:
        """The config as training takes it, read-only; made when first asked for, as it takes its time."""
        cfg = OmegaConf.create(self.values)
        OmegaConf.set_struct(cfg, True)
        OmegaConf.set_readonly(cfg, True)
        return cfg

    @cached_property
    def name(self) -> str:
        return folder_name(self.values)

    @cached_property
    def folder(self) -> Path:
        return sweep_folder(self.values) / self.name

    @property
    def label(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.choices.items()) or self.name
