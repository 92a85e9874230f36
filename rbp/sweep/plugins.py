"""Our sweeper and launchers as Hydra plugins: `hydra/sweeper=rbp`, `hydra/launcher=inline|local|slurm`.

Hydra 1.3 takes plugins by their name in the package `hydra_plugins`; that is the name they bear, though
they live here, so that a checkout needs no installation to have them.
"""

import sys
import types
from collections.abc import Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from rbp.errors import ConfigError
from rbp.sweep.cells import Cell
from rbp.sweep.compose import compose_grid
from rbp.sweep.launchers import LAUNCHERS, Elsewhere, elsewhere
from rbp.sweep.overrides import as_text
from rbp.sweep.plan import Options
from rbp.sweep.start import start
from rbp.validate import text

_PACKAGE = "hydra_plugins.rbp"


class GridSweeper(Sweeper):
    """Makes the cells of a grid, checks all of them, and hands them to our launcher."""

    def __init__(self, pairs: Any, exclude: Any, **options: Any) -> None:
        self.pairs, self.exclude, self.options = _plain(pairs), _plain(exclude), options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Raises SweepFailed if a cell failed, ConfigError if one cannot be."""
        for key, value in self.options.items():
            if not isinstance(value, bool):
                raise ConfigError(f"{key}={text(value)}: must be true or false")
        for key, lines in (("pairs", self.pairs), ("exclude", self.exclude)):
            if not isinstance(lines, list):
                raise ConfigError(f"hydra.sweeper.{key}={as_text(lines)}: must be a list")
        if not isinstance(self.launcher, CellLauncher):
            assert self.config is not None
            name = self.config.hydra.runtime.choices["hydra/launcher"]
            raise ConfigError(f"hydra/launcher={name}: choose one of {', '.join(['inline', *LAUNCHERS])}")
        cells = compose_grid(arguments, self.pairs, self.exclude)
        self.launcher.launch_cells(cells, Options(**self.options))


class CellLauncher(Launcher):
    """Runs the cells that our sweeper made."""

    def __init__(self, **settings: Any) -> None:
        self.values = {key: _plain(value) for key, value in settings.items()}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing of the context is needed: cells are composed before they get here."""

    def launch_cells(self, cells: list[Cell], options: Options) -> None:
        """Run what is not done of these cells."""
        start(cells, self.elsewhere(), options)

    def elsewhere(self) -> Elsewhere | None:
        """Who runs them, if not this process."""
        return elsewhere(type(self).__name__.lower(), self.values)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """What Hydra's own sweepers would call; ours hands over cells, all checked before."""
        raise ConfigError(
            "hydra/sweeper: must be rbp, which composes and checks all cells before the first runs"
        )


class Inline(CellLauncher):
    """One cell after another in this process."""

    def elsewhere(self) -> Elsewhere | None:
        return None


class Local(CellLauncher):
    """Processes side by side on this machine."""


class Slurm(CellLauncher):
    """Jobs on a Slurm cluster."""


def register() -> None:
    """Make the plugins known to Hydra, by the name that conf/hydra/ calls them."""
    known = Plugins.instance()  # looks for the plugins of others, before ours are there
    package = sys.modules.setdefault("hydra_plugins", types.ModuleType("hydra_plugins"))
    package.rbp = sys.modules[_PACKAGE] = sys.modules[__name__]  # type: ignore[attr-defined]
    for plugin in (GridSweeper, Inline, Local, Slurm):
        plugin.__module__ = _PACKAGE
        known.register(plugin)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
