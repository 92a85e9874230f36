"""The command line as typed, made into what Hydra understands: sweep files, flags, bare numbers of groups."""

from dataclasses import dataclass

from rbp.errors import ConfigError
from rbp.sweep.grid.overrides import check
from rbp.sweep.grid.sweepfile import load_sweep, sweep_overrides

_HELP = ("--help", "-h")
_SHOW_CONFIG = ("--cfg", "-c")


@dataclass(frozen=True)
class Arguments:
    """For Hydra: overrides and flags; grid: they are those of a grid, not of a single run."""

    hydra: list[str]
    grid: bool


def expand(argv: list[str]) -> Arguments:
    """What the command line stands for.

    `sweeps=NAME` stands for the overrides of sweeps/NAME.yaml; what the command line says itself wins. With
    `--cfg` or `--help` a sweep's grid is left out: what its cells share is shown. A run that goes to other
    processes or machines, or is only to be shown (`--dry-run`), is a grid of one cell.
    """
    multirun = any(_is_multirun(arg) for arg in argv)
    names = [arg.partition("=")[2] for arg in argv if arg.startswith("sweeps=")]
    rest = ["dry_run=true" if arg == "--dry-run" else arg for arg in argv]
    rest = [arg for arg in rest if not arg.startswith("sweeps=") and not _is_multirun(arg)]
    flags = [arg for arg in rest if arg.startswith("-")]
    _check_flags(flags, multirun)
    if len(names) > 1:
        raise ConfigError(f"sweeps={','.join(names)}: one sweep at a time")
    if names:
        given = {key.lstrip("+"): value for key, _, value in (arg.partition("=") for arg in rest)}
        rest = sweep_overrides(load_sweep(names[0]), given, fixed_only=bool(flags)) + rest
    checked = [check(arg) for arg in rest]
    of_grids = ("hydra/launcher", "hydra.launcher", "hydra.sweeper")
    elsewhere = any(arg.lstrip("+").startswith(of_grids) for arg in checked)
    return Arguments(checked, (multirun or bool(names) or elsewhere) and not flags)


def _check_flags(flags: list[str], multirun: bool) -> None:
    if multirun and flags and flags[0] not in _HELP:
        raise ConfigError(
            f"{flags[0]}: does not go with -m; it shows one run, with a single value for each key"
        )
    if "--resolve" in flags and not {*_HELP, *_SHOW_CONFIG}.intersection(flags):
        raise ConfigError("--resolve: goes with --cfg job")


def _is_multirun(arg: str) -> bool:
    return arg == "-m" or (len(arg) > 2 and "--multirun".startswith(arg))  # argparse takes --multi too
