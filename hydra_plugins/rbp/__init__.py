"""rbp's sweeper and launchers for Hydra: hydra/sweeper=rbp, hydra/launcher=inline | local | slurm.

Hydra finds plugins in the namespace package `hydra_plugins`, by the module that a class is defined in, and
configs name them by it (`_target_: hydra_plugins.rbp.Slurm`). Every Hydra program of an environment imports
this module, so the classes only hold their settings; rbp itself is imported when they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from rbp.config.launchers import SweeperSettings
    from rbp.sweep.grid.cells import Cell


class GridSweeper(Sweeper):
    """Makes the cells of a grid, checks all of them, and hands them to the launcher."""

    def __init__(self, **settings: Any) -> None:
        self.values = _plain(settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        from hydra.core.plugins import Plugins

        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.chosen = config.hydra.runtime.choices["hydra/launcher"]

    def sweep(self, arguments: list[str]) -> None:
        """Run the grid. Raises SweepFailed if a cell failed, ConfigError if one cannot be."""
        from rbp.sweep.launch_grid import launch_grid

        launch_grid(self.values, arguments, self.launcher, self.chosen)


class CellLauncher(Launcher):
    """Runs the cells that the sweeper made."""

    name = "inline"

    def __init__(self, **settings: Any) -> None:
        self.values = _plain(settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing of the context is needed: cells are composed before they get here."""

    def launch_cells(self, cells: list[Cell], settings: SweeperSettings) -> None:
        """Run what is not done of these cells."""
        from rbp.sweep.launchers.launcher import make_launcher
        from rbp.sweep.start import start

        start(cells, make_launcher(self.name, self.values), settings)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """What Hydra's own sweepers would call; ours hands over cells, all checked before."""
        from rbp.errors import ConfigError

        raise ConfigError(
            "hydra/sweeper: must be rbp, which composes and checks all cells before the first runs"
        )


class Inline(CellLauncher):
    """One cell after another, in this process."""


class Local(CellLauncher):
    """Processes side by side on this machine."""

    name = "local"


class Slurm(CellLauncher):
    """Jobs on a Slurm cluster."""

    name = "slurm"


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in settings.items()
    }
