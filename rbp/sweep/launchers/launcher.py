"""What a launcher is: where the cells of a grid run."""

import os
import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from rbp import __version__
from rbp.config.launchers import SweeperSettings
from rbp.sweep.grid.cell import Cell
from rbp.sweep.state.plan import Plan
from rbp.sweep.state.states import RunState
from rbp.sweep.state.sweepfolder import SweepFolder


class Launcher(ABC):
    """Runs the cells of a grid.

    Attributes:
        name: of the option of hydra/launcher.
        here: whether it runs on this machine, so that its devices can be checked.
    """

    name: ClassVar[str]
    here: ClassVar[bool]

    @abstractmethod
    def check(self, cells: list[Cell]) -> None:
        """Raise ConfigError where these cells cannot be run."""

    @abstractmethod
    def run(self, sweep: SweepFolder, plan: Plan, settings: SweeperSettings) -> list[RunState]:
        """Run what the plan has to do; return the states of all its cells afterwards."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Plain values, from which `make_launcher` makes the same again."""

    def note_start(self, sweep: SweepFolder, cells: list[Cell]) -> None:
        """Write down what was started, for those who look at the sweep's folder later."""
        sweep.note(
            {
                "name": sweep.path.name,
                "about": cells[0].values["sweep"]["about"],
                "started": time.strftime("%Y-%m-%d %H:%M:%S"),
                "working_directory": os.getcwd(),
                "launcher": {"name": self.name, **self.settings()},
                "code": {"version": __version__},
            },
            {cell.name: cell.choices for cell in cells},
        )
