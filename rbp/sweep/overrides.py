"""The command line as typed, made into what Hydra understands: sweep files and bare numbers of groups."""

import re

from rbp.errors import ConfigError
from rbp.sweep.places import is_group
from rbp.sweep.sweepfile import fixed_overrides, grid_overrides, load_sweep

# Where more options of the groups lie. Other settings make Hydra write files and run things of its own.
HYDRAS_OWN = ("hydra.searchpath",)
# Hydra reads these as numbers and so on, and then refuses them as the name of a group's option.
_NOT_A_NAME = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?|true|false|null|nan|[-+]?inf|", re.IGNORECASE)


def expand(argv: list[str]) -> tuple[list[str], bool]:
    """The arguments for Hydra, and whether they are those of a grid.

    `sweeps=NAME` stands for the overrides of sweeps/NAME.yaml; what the command line says itself wins. With
    `--cfg` or `--help` a sweep's grid is left out: what its cells share is shown.
    """
    grid = any(_is_multirun(arg) for arg in argv)
    names = [arg.partition("=")[2] for arg in argv if arg.startswith("sweeps=")]
    rest = [arg for arg in argv if not arg.startswith("sweeps=") and not _is_multirun(arg)]
    flags = [arg for arg in rest if arg.startswith("-")]
    if grid and flags and flags[0] not in ("--help", "-h"):
        raise ConfigError(
            f"{flags[0]}: does not go with -m; it shows one run, with a single value for each key"
        )
    if "--resolve" in flags and not {"--cfg", "-c", "--help", "-h"}.intersection(flags):
        raise ConfigError("--resolve: goes with --cfg job")
    if len(names) > 1:
        raise ConfigError(f"sweeps={','.join(names)}: one sweep at a time")
    if names:
        sweep = load_sweep(names[0])
        added = fixed_overrides(sweep) if flags else fixed_overrides(sweep) | grid_overrides(sweep)
        given = {arg.partition("=")[0].lstrip("+") for arg in rest}
        rest = [override for key, override in added.items() if key not in given] + rest
    return [_check(arg) for arg in rest], (grid or bool(names)) and not flags


def _is_multirun(arg: str) -> bool:
    return arg == "-m" or (len(arg) > 2 and "--multirun".startswith(arg))  # argparse takes --multi too


def _check(arg: str) -> str:
    """The override, with bare numbers of a group quoted as in T='4'; refuses what goes round the schema."""
    key, equals, value = arg.partition("=")
    if key.startswith("~"):
        raise ConfigError(f"{arg}: keys cannot be left out")
    if key == "hydra.mode":
        raise ConfigError(f"{arg}: for a grid add -m")
    if key.lstrip("+").startswith(("hydra.", "hydra/")) and key not in HYDRAS_OWN:
        raise ConfigError(f"{arg}: Hydra's own settings are fixed, but for {', '.join(HYDRAS_OWN)}")
    if equals and not key.strip("+ "):
        raise ConfigError(f"{arg}: cannot be read; write key=value")
    if not equals or not is_group(key):
        return arg
    if key.startswith("+"):
        raise ConfigError(f"{arg}: write {key.lstrip('+')}={value}; every group has one choice, and no +")
    if value.startswith(("[", "{")):
        raise ConfigError(f"{arg}: choose one option, or for a grid several with -m, as in -m T=2,4")
    parts = [part.strip() for part in value.split(",")]
    return f"{key}=" + ",".join(f"'{part}'" if _NOT_A_NAME.fullmatch(part) else part for part in parts)
