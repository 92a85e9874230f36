"""A real terminal: a command's output goes through a pty to a screen of so many columns, which is read."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass

import pyte
from pyte.screens import Char

from rbp.cli import main as rbp_main
from rbp.config.composition.places import ROOT
from rbp.sweep.launch import main as launch_main
from tests.support.processes import PROCESSES


@dataclass(frozen=True)
class Shown:
    """What a terminal showed of a command.

    Attributes:
        sent: All that the command wrote, escapes included.
        rows: The rows of the screen at the end, with those that were scrolled off its top.
        lines: The same, where a row that ran over the edge is one line with the next.
        moments: The screens in between, each as its rows.
        code: The exit code.
    """

    sent: str
    rows: list[str]
    lines: list[str]
    moments: list[list[str]]
    code: int | None

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class _Screen(pyte.HistoryScreen):
    """A screen that knows which rows ran over its edge: those have a mark beyond their last column."""

    def draw(self, data: str) -> None:
        for char in data:
            if self.cursor.x == self.columns:
                self.buffer[self.cursor.y][self.columns] = Char("+")
            elif self.cursor.x == 0:
                self.buffer[self.cursor.y].pop(self.columns, None)
            super().draw(char)

    def read(self) -> tuple[list[str], list[str]]:
        """Return the rows and the lines, without empty ones at the end."""
        rows, lines, going_on = list[str](), list[str](), False
        for row in [*self.history.top, *(self.buffer[y] for y in range(self.lines))]:
            text = "".join(row[x].data for x in range(self.columns))
            over = self.columns in row
            rows.append(text.rstrip())
            text = text if over else text.rstrip()
            lines[-1:] = [lines[-1] + text] if going_on else [*lines[-1:], text]
            going_on = over
        while rows and not rows[-1]:
            rows.pop()
        while lines and not lines[-1]:
            lines.pop()
        return rows, lines


PROGRAMS: dict[str, Callable[[list[str]], int]] = {"launch": launch_main, "rbp": rbp_main}


def on_a_terminal(
    program: str, *argv: str, columns: int = 80, height: int = 24, env: dict[str, str] | None = None
) -> Shown:
    """Run launch.py or rbp, by name, in a process with a terminal for its input and output."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, columns, 0, 0))
    process = PROCESSES.Process(
        target=_run, args=(os.ttyname(slave), program, argv, os.getcwd(), env or {}), daemon=True
    )
    screen = _Screen(columns, height, history=100_000)
    stream = pyte.ByteStream(screen)
    sent, moments = b"", list[list[str]]()
    with contextlib.chdir(ROOT):  # what the first of these processes imports, it finds from here
        process.start()
    while process.is_alive() or select.select([master], [], [], 0)[0]:
        if select.select([master], [], [], 0.05)[0]:
            new = os.read(master, 65536)
            sent += new
            stream.feed(new)
            if not moments or moments[-1] != screen.display:
                moments.append([row.rstrip() for row in screen.display])
    for end in (master, slave):
        os.close(end)
    return Shown(sent.decode(), *screen.read(), moments, process.exitcode)


def _run(terminal: str, program: str, argv: tuple[str, ...], folder: str, env: dict[str, str]) -> None:
    for number in range(3):
        os.dup2(os.open(terminal, os.O_RDWR), number)
    os.environ.pop("COLUMNS", None)
    os.environ.update({"TERM": "xterm", **env})
    os.chdir(folder)
    sys.exit(PROGRAMS[program](list(argv)))
