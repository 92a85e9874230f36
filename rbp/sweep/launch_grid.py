"""What Hydra's sweeper does for a grid: compose and check all cells, then hand them to the launcher."""

from collections.abc import Mapping
from typing import Any

from rbp.config.launchers import LAUNCHERS, SweeperSettings, read_settings
from rbp.errors import ConfigError
from rbp.sweep.grid.compose import compose_grid


def launch_grid(values: Mapping[str, Any], overrides: list[str], launcher: Any, chosen: str) -> None:
    """Run a grid. values: of hydra.sweeper; launcher: Hydra's plugin, as `hydra/launcher=chosen` names it.

    Raises SweepFailed if a cell failed, ConfigError if one cannot be.
    """
    settings = read_settings(SweeperSettings, values)
    if not hasattr(launcher, "launch_cells"):
        raise ConfigError(f"hydra/launcher={chosen}: choose one of {', '.join(['inline', *LAUNCHERS])}")
    cells = compose_grid(overrides, settings.pairs, settings.exclude)
    launcher.launch_cells(cells, settings)
