"""Lines for whoever started the program, and what to do when nobody reads them any more."""

import os
import sys
from typing import TextIO

from rich.console import Console


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line at once, to stdout unless told otherwise; one that nobody reads is not an error."""
    stream = stream or sys.stdout
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        hush(stream)


def hush(stream: TextIO) -> None:
    """Let what is still written to a closed pipe (`| head -1`) vanish, at the program's end too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def exit_code(end: SystemExit) -> int:
    """The code with which the program would end; a message is told, as Python does."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    say(str(end.code), sys.stderr)
    return 1


class Screen(Console):
    """rich's console, which would end the program where the pipe is closed."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        hush(sys.stdout)
