"""Parse the command line of launch.py: its flags, and its arguments as overrides for Hydra."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from rbp.config.composition.overrides import check
from rbp.config.composition.places import named_folders
from rbp.config.composition.session import PRIMARY
from rbp.errors import ConfigError
from rbp.sweep.grid.sweepfile import load_sweep, sweep_overrides

_SEARCH_PATH = "hydra.searchpath="
_OF_GRIDS = ("hydra/launcher", "hydra.launcher", "hydra.sweeper", "hydra/sweeper")
_REFUSED = {
    "package": "shows a part of a config in Hydra; --cfg job shows the whole",
    "run": "is what a command line without -m does",
    "experimental_rerun": "reruns a pickled job of Hydra's; the same command goes on with a run",
    "config_path": "would replace conf/; --config-dir DIR adds options of your own to it",
}


@dataclass(frozen=True)
class CommandLine:
    """A parsed command line.

    Attributes:
        overrides: Overrides in Hydra's syntax.
        grid: Whether the overrides describe a grid rather than a single run.
        display_flags: Hydra flags that only print something (--help, --cfg job); if there are any, nothing
            runs.
        config_name: Name of the primary config.
        config_dir: A folder of the user's own, with group options and primary configs.
        search_path: The entries of hydra.searchpath, which are taken before rbp's own options.
    """

    overrides: list[str]
    grid: bool = False
    display_flags: list[str] = field(default_factory=list)
    config_name: str = PRIMARY
    config_dir: Path | None = None
    search_path: tuple[str, ...] = ()


def read_command_line(argv: Sequence[str]) -> CommandLine:
    """Read the arguments of launch.py.

    `sweeps=NAME` stands for the overrides of sweeps/NAME.yaml; values on the command line take precedence.
    With `--cfg` or `--help`, the swept keys of a sweep are left out, so that the values its cells share are
    shown. A single run that goes to other processes or machines, or is only listed (`--dry-run`), is treated
    as a grid of one cell.

    Raises:
        ConfigError: A flag or an argument cannot be read, or would bypass the schema.
    """
    args = _parser().parse_intermixed_args(list(argv))
    for flag, why in _REFUSED.items():
        if getattr(args, flag):
            raise ConfigError(f"--{flag.replace('_', '-')}: {why}")
    display_flags = _shows(args)
    if args.multirun and display_flags and display_flags[0] != "--help":
        raise ConfigError(
            f"{display_flags[0]}: does not go with -m; it shows one run, with a single value for each key"
        )
    if args.resolve and not (args.help or args.cfg):
        raise ConfigError("--resolve: goes with --cfg job")
    dry_run = ["dry_run=true"] if args.dry_run and not display_flags else []
    search_path, arguments = _search_path(args.overrides)
    config_dir = _config_dir(args.config_dir)
    with named_folders(config_dir, search_path):
        overrides, of_sweep = expand([*arguments, *dry_run], fixed_only=bool(display_flags))
    elsewhere = any(override.lstrip("+").startswith(_OF_GRIDS) for override in overrides)
    grid = (args.multirun or of_sweep or elsewhere) and not display_flags
    name = args.config_name or PRIMARY
    return CommandLine(overrides, grid, display_flags, name, config_dir, tuple(search_path))


def expand(arguments: Sequence[str], fixed_only: bool = False) -> tuple[list[str], bool]:
    """Return overrides for Hydra, and whether a named sweep is among the arguments.

    Args:
        arguments: The arguments as typed: key=value, and at most one sweeps=NAME.
        fixed_only: Whether to leave out the swept keys of the sweep.

    Raises:
        ConfigError: An argument or the sweep file is wrong.
    """
    names = [arg.partition("=")[2] for arg in arguments if arg.startswith("sweeps=")]
    rest = [arg for arg in arguments if not arg.startswith("sweeps=")]
    if len(names) > 1:
        raise ConfigError(f"sweeps={','.join(names)}: one sweep at a time")
    if names:
        given = {key.lstrip("+"): value for key, _, value in (arg.partition("=") for arg in rest)}
        rest = sweep_overrides(load_sweep(names[0]), given, fixed_only) + rest
    return [check(arg) for arg in rest], bool(names)


def _search_path(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the entries of hydra.searchpath, and the other arguments.

    Raises:
        ConfigError: It is no list, or an entry names no folder or package.
    """
    entries: list[str] = []
    for argument in (arg for arg in arguments if arg.startswith(_SEARCH_PATH)):
        try:
            value: Any = OverridesParser.create().parse_override(argument).value()
        except HydraException:
            value = None
        if not isinstance(value, list):
            raise ConfigError(f"{argument}: must be a list, such as [file:///home/me/conf,pkg://mylab.conf]")
        entries += [_entry(str(getattr(item, "text", item)), argument) for item in value]
    return entries, [arg for arg in arguments if not arg.startswith(_SEARCH_PATH)]


def _entry(entry: str, argument: str) -> str:
    """Return an entry of the search path with an absolute path."""
    if entry.startswith("pkg://"):
        return entry
    folder = Path(entry.removeprefix("file://")).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(f"{argument}: {folder}: no such folder")
    return f"file://{folder}"


def _config_dir(folder: str | None) -> Path | None:
    if folder is None:
        return None
    path = Path(os.path.expanduser(folder))  # the shell leaves the ~ of --config-dir=~/conf as it is
    if not path.is_dir():
        raise ConfigError(f"--config-dir {folder}: no such folder; name one such as ./conf")
    return path


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; --help shows what there is")


def _parser() -> argparse.ArgumentParser:
    """Return a parser for Hydra's flags (see Hydra's documentation) and `--dry-run`."""
    parser = _Parser(add_help=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--config-name", "-cn")
    for flag in ("--help", "--hydra-help", "--resolve", "--shell-completion", "--run"):
        short = {"--help": ["-h"], "--shell-completion": ["-sc"], "--run": ["-r"]}.get(flag, [])
        parser.add_argument(flag, *short, action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--info", "-i", nargs="?", const="all")
    parser.add_argument("--config-path", "-cp")
    parser.add_argument("--package", "-p")
    parser.add_argument("--experimental-rerun")
    return parser


def _shows(args: argparse.Namespace) -> list[str]:
    """Return the flags that only print something, in Hydra's syntax."""
    flags = [flag for flag in ("help", "hydra_help", "shell_completion") if getattr(args, flag)]
    display_flags = [f"--{flag.replace('_', '-')}" for flag in flags]
    display_flags += ["--cfg", args.cfg] if args.cfg else []
    display_flags += ["--info", args.info] if args.info else []
    return display_flags + (["--resolve"] if args.resolve and display_flags else [])
