"""Print lines for the user, in any locale, also when stdout is a pipe that its reader has closed.

On a terminal, lines are broken between words, never within a key, a path or a command
(rbp.terminal.wrapping).
"""

import contextlib
import os
import re
import sys
from io import TextIOWrapper
from typing import TextIO

from rich.console import Console

from rbp.terminal.wrapping import fold


def degrade_output() -> None:
    """Let characters that the locale cannot show be printed as `?`, rather than end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            with contextlib.suppress(OSError):  # opened for reading too, on what cannot seek
                stream.reconfigure(errors="replace")


def say(text: str, stream: TextIO | None = None, *, verbatim: bool = False) -> None:
    """Print a text and flush it. A closed pipe is not an error.

    Args:
        text: A line, or several.
        stream: Where to; None is stdout.
        verbatim: Whether to leave lines alone that are longer than the terminal is wide, as of JSON.
    """
    stream = stream or sys.stdout
    width = None if verbatim else _columns(stream)
    try:
        print(text if width is None else "\n".join(fold(text, width)), file=stream, flush=True)
    except BrokenPipeError:
        hush(stream)


def say_entry(line: str) -> None:
    """Print a line of a list, such as of a help text: on a terminal, its text stays in its own column."""
    width = _columns(sys.stdout)
    column = re.match(r" *\S+(?: \S+)*? {2,}(?=\S)", line)
    if width and column and len(column[0]) < width // 2:
        indent = len(line) - len(line.lstrip())
        line = "\n".join(fold(line, width, " " * (len(column[0]) - indent)))
    say(line)


def _columns(stream: TextIO) -> int | None:
    """Return how wide the terminal is that a stream writes to; None if it writes to something else."""
    try:
        if not stream.isatty():
            return None
        told = os.environ.get("COLUMNS", "")
        return int(told) if told.isdecimal() and int(told) else os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # it has no file, or is closed
        return None


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


def show(text: str, screen: Console, style: str = "") -> None:
    """Print a text to a rich console: on a terminal broken between words, elsewhere as it is."""
    for row in fold(text, screen.width) if screen.is_terminal else text.split("\n"):
        screen.print(row, style=style, markup=False, highlight=False, soft_wrap=True)
