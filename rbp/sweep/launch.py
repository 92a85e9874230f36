"""Run the command line of launch.py and `rbp train`: a single run or a grid of runs.

Errors that the user can fix are printed as one message.
"""

import os
import sys
from collections.abc import Sequence

from rbp import __version__
from rbp.config.composition.overrides import is_hydras
from rbp.config.composition.places import hidden_files, named_folders
from rbp.config.launchers import SweeperSettings, read_settings
from rbp.errors import ConfigError, SweepFailed, TrainingError, UserError
from rbp.garbage import spare_old_objects
from rbp.sweep.grid.cell import Cell
from rbp.sweep.grid.command_line import CommandLine, read_command_line
from rbp.sweep.grid.compose import compose_cell, compose_grid, compose_hydra
from rbp.sweep.launchers import crew
from rbp.sweep.launchers.inline import run_one
from rbp.sweep.launchers.launcher import Launcher
from rbp.sweep.launchers.make import launcher_of
from rbp.sweep.start import start
from rbp.terminal.output import degrade_output, exit_code, hush, say
from rbp.working_directory import import_from_here

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Any exception other than a UserError or a closed pipe is a bug in the program and is not caught.

    Args:
        argv: The command line without the program's name; None takes `sys.argv`.

    Returns:
        The exit code: 0 for success, 1 for a failure, 2 for a wrong command line, 130 for Ctrl-C.
    """
    degrade_output()
    spare_old_objects()
    argv = sys.argv[1:] if argv is None else list(argv)
    if not crew.is_crew() or not set(argv).isdisjoint(_SHOW):
        return _main(argv)
    try:
        return _as_first(argv) if crew.begin() else crew.follow()
    except UserError as error:
        say(f"error: {error}", sys.stderr)
        return FAILED if isinstance(error, TrainingError) else USAGE
    except KeyboardInterrupt:
        return INTERRUPTED


_SHOW = ("--help", "-h", "--version", "--hydra-help")  # for which no rank has to wait


def _as_first(argv: list[str]) -> int:
    """Run the command line as the first of several ranks."""
    code = FAILED
    try:
        code = _main(argv)
    finally:
        crew.dismiss(code)
    return code


def _main(argv: list[str]) -> int:
    try:
        code = _run(argv)
        sys.stdout.flush()  # inside the try, so that a closed pipe raises here and not at exit
        return code
    except BrokenPipeError:  # the reader of Hydra's output (--help) has closed the pipe
        hush(sys.stdout)
        return DONE
    except UserError as error:
        say(f"error: {error}", sys.stderr)
        return FAILED if isinstance(error, TrainingError | SweepFailed) else USAGE
    except SystemExit as end:  # argparse has already printed the reason
        return exit_code(end)
    except KeyboardInterrupt:
        say("\ninterrupted; the same command goes on from the last checkpoint", sys.stderr)
        return INTERRUPTED


def _run(argv: list[str]) -> int:
    if argv == ["--version"]:
        say(f"rbp {__version__}")
        return DONE
    _check_working_directory()
    import_from_here()
    line = read_command_line(argv)
    with named_folders(line.config_dir, line.search_path):
        for sentence in hidden_files():
            say(sentence, sys.stderr)
        if line.display_flags:
            from rbp.sweep.show import show

            show(line)
        elif line.grid:
            start(*read_grid(line))
        else:
            run_one(compose_cell(line.overrides, line.config_name))
    return DONE


def read_grid(line: CommandLine) -> tuple[list[Cell], Launcher, SweeperSettings]:
    """Compose and check a grid.

    Returns:
        The cells, the launcher that runs them, and the settings that decide which of them run.

    Raises:
        ConfigError: Cells have problems, all of which the message lists; or a setting of the launcher or the
            sweeper is wrong.
    """
    of_hydra = [override for override in line.overrides if is_hydras(override)]
    of_cells = [override for override in line.overrides if not is_hydras(override)]
    hydra = compose_hydra(of_hydra, line.config_name)
    settings = read_settings(SweeperSettings, hydra.sweeper)
    launcher = launcher_of(hydra.launcher_option, hydra.launcher)
    cells = compose_grid(of_cells, settings.pairs, settings.exclude, line.config_name)
    return cells, launcher, settings


def _check_working_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise ConfigError("the working directory is gone: change to one that is there") from error
