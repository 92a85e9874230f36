"""Define a cell of a grid: one run with its frozen config and the values that set it apart."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rbp.config.identity import folder_name, sweep_folder


@dataclass
class Cell:
    """One run of a grid.

    Attributes:
        values: The resolved config as plain values.
        choices: The swept keys with this cell's values, by which it differs from the other cells.
    """

    values: dict[str, Any]
    choices: dict[str, str] = field(default_factory=dict)

    @cached_property
    def cfg(self) -> DictConfig:
        """The config as a read-only DictConfig, for training; built on first use because that is slow."""
        cfg = OmegaConf.create(self.values)
        OmegaConf.set_struct(cfg, True)
        OmegaConf.set_readonly(cfg, True)
        return cfg

    @cached_property
    def name(self) -> str:
        """The name of the run's folder, which ends in the run's identity."""
        return folder_name(self.values)

    @cached_property
    def folder(self) -> Path:
        """The path of the run's folder."""
        return sweep_folder(self.values) / self.name

    @property
    def label(self) -> str:
        """The choices as text, such as "T=4 seed=0", or the name if there are none."""
        return " ".join(f"{key}={value}" for key, value in self.choices.items()) or self.name
