"""The one entrypoint: Hydra composes one run, or hands a grid to our sweeper; errors in one message."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

import hydra
from omegaconf import DictConfig

from rbp import __version__
from rbp.config import schema
from rbp.errors import ConfigError, SweepFailed, TrainingError, UserError
from rbp.output import exit_code, hush, say
from rbp.sweep.grid import help_text
from rbp.sweep.grid.arguments import expand
from rbp.sweep.grid.compose import settle
from rbp.sweep.grid.composer import COMPOSITION_ERRORS
from rbp.sweep.grid.messages import explain
from rbp.sweep.grid.places import CONF
from rbp.sweep.grid.time_steps import with_any_T
from rbp.sweep.launchers.inline import run_one

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. An exception of another kind than UserError is a bug."""
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()  # here, where a closed pipe can be told from other errors
        return code
    except BrokenPipeError:  # what Hydra shows (--help), where nobody reads on
        hush(sys.stdout)
        return DONE
    except UserError as error:
        say(f"error: {error}", sys.stderr)
        return FAILED if isinstance(error, TrainingError | SweepFailed) else USAGE
    except SystemExit as end:  # argparse has told why
        return exit_code(end)
    except KeyboardInterrupt:
        say("\ninterrupted; the same command goes on from the last checkpoint", sys.stderr)
        return INTERRUPTED


def _run(argv: list[str]) -> int:
    if argv == ["--version"]:
        say(f"rbp {__version__}")
        return DONE
    _check_working_directory()
    schema.register()
    help_text.register()
    arguments = expand(argv)
    composed = _hydra(arguments.hydra, ["-m"] if arguments.grid else [])
    if composed is not None:
        run_one(settle(composed))
    return DONE


def _check_working_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise ConfigError("the working directory is gone: change to one that is there") from error


def _hydra(arguments: list[str], flags: list[str]) -> DictConfig | None:
    """The config of a single run; None if a grid ran, or something was to be shown (--help, --cfg job)."""
    composed: list[DictConfig] = []
    # Hydra only composes: an error inside its task function it would report in its own way.
    compose = hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(composed.append)
    try:
        with _hydra_raises(), _argv([*flags, *arguments]):
            with_any_T(compose)
    except COMPOSITION_ERRORS as error:
        raise ConfigError(explain(error, arguments)) from error
    return composed[0] if composed else None


@contextlib.contextmanager
def _hydra_raises() -> Iterator[None]:
    """Make Hydra raise its errors instead of printing them with hints of its own."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


@contextlib.contextmanager
def _argv(arguments: list[str]) -> Iterator[None]:
    """hydra.main reads sys.argv."""
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before
