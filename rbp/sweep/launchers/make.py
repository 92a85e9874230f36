"""Create launchers by name or by an option of hydra/launcher."""

from collections.abc import Mapping
from typing import Any

from rbp.config.launchers import LAUNCHERS
from rbp.errors import ConfigError
from rbp.sweep.launchers.inline import Inline
from rbp.sweep.launchers.launcher import Launcher
from rbp.sweep.launchers.local import Local
from rbp.sweep.launchers.slurm import Slurm

NAMES = ("inline", *LAUNCHERS)
# Module of the launchers in version 0.1. A user's own YAML file may still name it in `_target_`.
_OF_VERSION_0_1 = "hydra_plugins.rbp"
_TARGETS = {
    f"{place}.{kind.__name__}": kind.name
    for kind in (Inline, Local, Slurm)
    for place in (kind.__module__, _OF_VERSION_0_1)
}


def make_launcher(name: str, values: Mapping[str, Any], option: str | None = None) -> Launcher:
    """Return the launcher of this name.

    Args:
        name: inline, local or slurm.
        values: The settings of the launcher.
        option: The option of hydra/launcher that chose it; None for the name itself.

    Raises:
        ConfigError: A setting is wrong.
    """
    kinds: dict[str, type[Inline | Local | Slurm]] = {"inline": Inline, "local": Local, "slurm": Slurm}
    launcher = kinds[name](values)
    launcher.option = option or name
    return launcher


def launcher_of(option: str, values: Mapping[str, Any]) -> Launcher:
    """Return the launcher for an option of hydra/launcher, which may be an option of the user's own.

    Args:
        option: The name of the option.
        values: The content of the option's file: `_target_` and settings.

    Raises:
        ConfigError: `_target_` is not one of rbp's launchers, or a setting is wrong.
    """
    name = _TARGETS.get(str(values.get("_target_")))
    if name is None:
        raise ConfigError(f"hydra/launcher={option}: choose one of {', '.join(NAMES)}")
    return make_launcher(name, {key: value for key, value in values.items() if key != "_target_"}, option)
