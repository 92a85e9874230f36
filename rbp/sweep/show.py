"""Let Hydra print what its flags ask for (--help, --cfg, --info, shell completion).

This is the only use of hydra.main.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator

import hydra

from rbp.config.composition.messages import explain
from rbp.config.composition.places import CONF
from rbp.config.composition.session import COMPOSITION_ERRORS, register
from rbp.config.composition.time_steps import with_any_T
from rbp.errors import ConfigError
from rbp.sweep.grid import help_text
from rbp.sweep.grid.command_line import CommandLine
from rbp.terminal.output import say_entry


def show(line: CommandLine) -> None:
    """Print what the command line asks for, without running anything.

    Raises:
        ConfigError: The overrides cannot be composed.
    """
    register()
    nothing = hydra.main(config_path=str(CONF), config_name=line.config_name, version_base="1.3")(print)
    folded = _folded() if _HELP.intersection(line.display_flags) else contextlib.nullcontext()
    try:
        with help_text.listed(), folded, _hydra_raises(), _argv([*line.display_flags, *line.overrides]):
            with_any_T(nothing)
    except COMPOSITION_ERRORS as error:
        raise ConfigError(explain(error, line.overrides)) from error


_HELP = {"--help", "-h", "--hydra-help"}


@contextlib.contextmanager
def _folded() -> Iterator[None]:
    """Print what is printed inside the block afterwards, within the width of the terminal."""
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            yield
    finally:
        for line in text.getvalue().splitlines():
            say_entry(line)


@contextlib.contextmanager
def _hydra_raises() -> Iterator[None]:
    """Make Hydra raise its errors inside the block instead of printing them with its own hints."""
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
    """Replace the arguments in sys.argv inside the block, since hydra.main reads them there."""
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before
