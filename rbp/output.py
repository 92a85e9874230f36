"""Print lines for the user, in any locale, also when stdout is a pipe that its reader has closed."""

import contextlib
import os
import sys
from io import TextIOWrapper
from typing import TextIO

from rich.console import Console


def degrade_output() -> None:
    """Let characters that the locale cannot show be printed as `?`, rather than end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            with contextlib.suppress(OSError):  # opened for reading too, on what cannot seek
                stream.reconfigure(errors="replace")


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line and flush it, to stdout by default. A closed pipe is not an error."""
    stream = stream or sys.stdout
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        hush(stream)


def hush(stream: TextIO) -> None:
    """Redirect a stream whose pipe is closed (`| head -1`) to /dev/null, also for the flush at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def exit_code(end: SystemExit) -> int:
    """Return the exit code of a SystemExit; print its message to stderr if it has one, as Python does."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    say(str(end.code), sys.stderr)
    return 1


class Screen(Console):
    """A rich console that goes quiet when its pipe is closed; rich's own would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        hush(sys.stdout)
