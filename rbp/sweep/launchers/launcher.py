"""Define the interface of launchers, which run the cells of a grid."""

import functools
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from rbp import __version__
from rbp.config.launchers import SweeperSettings
from rbp.provenance.commits import of_folder
from rbp.runs.start import write_start
from rbp.sweep.grid.cell import Cell
from rbp.sweep.state.plan import Plan
from rbp.sweep.state.states import RunState
from rbp.sweep.state.sweepfolder import SweepFolder


@functools.cache
def _commit_of(folder: str) -> Mapping[str, Any] | None:
    """Return the commit of the repository that a folder lies in; looked up once for a grid of many cells."""
    return of_folder(Path(folder))


class Launcher(ABC):
    """The base class of launchers.

    Attributes:
        name: The kind of launcher: inline, local or slurm.
        option: The option of hydra/launcher that chose it: its name, or that of a file of the user's own.
        here: Whether cells run on this machine, so that its devices can be checked beforehand.
    """

    name: ClassVar[str]
    here: ClassVar[bool]
    option: str

    @abstractmethod
    def check(self, cells: list[Cell]) -> None:
        """Raise ConfigError if this launcher cannot run these cells."""

    @abstractmethod
    def run(self, sweep: SweepFolder, plan: Plan, settings: SweeperSettings) -> list[RunState]:
        """Run the cells to do, and return the states of all cells of the plan afterwards.

        Args:
            sweep: The folder of the sweep.
            plan: The cells, and which of them to run.
            settings: Settings of the grid, such as whether to wait for jobs.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return plain values from which `make_launcher` can create an equal launcher."""

    def note_run(self, folder: Path) -> None:
        """Record in a run's folder how it is started, for `rbp retry` and for its tracker."""
        place = os.getcwd()
        write_start(folder, self._described(), place, _commit_of(place))

    def _described(self) -> dict[str, Any]:
        return {"name": self.name, "option": self.option, **self.settings()}

    def note_start(self, sweep: SweepFolder, cells: list[Cell]) -> None:
        """Record in the sweep's folder what was started, for `rbp retry` and other later readers."""
        sweep.note(
            {
                "name": sweep.path.name,
                "about": cells[0].values["sweep"]["about"],
                "started": time.strftime("%Y-%m-%d %H:%M:%S"),
                "working_directory": os.getcwd(),
                "launcher": self._described(),
                "code": {"version": __version__},
            },
            {cell.name: cell.choices for cell in cells},
        )
