"""The terminal's table of a grid at work: a small sweep runs in two processes, `rbp status` is recorded."""

import io
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import time

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, DIMMED_MONOKAI, TerminalTheme
from rich.text import Text

from docs.pictures.schemes import FOLDER, write

COLUMNS = 76
GRID = ("-m", "T=2,4", "grad_mode=bptt,rate", "seed=0,1")
FIXED = ("trainer.epochs=12", "tracker=none", "sweep.name=mine")
WHERE = ("hydra/launcher=local", "hydra.launcher.processes=2", "wait=false")
SHOWN = "rbp status runs/mine"
_FONT = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # rich's is at another host
RBP = (sys.executable, "-m", "rbp")


def make() -> None:
    """Run the sweep, record it when some cells are done and some at work, and draw what stood there."""
    with tempfile.TemporaryDirectory() as folder:
        run(folder, "train", *GRID, *FIXED, *WHERE)
        while not _in_the_middle(states(folder)):
            time.sleep(1)
        came = on_a_terminal(folder, "status", "runs/mine")
        run(folder, "cancel", "runs/mine")
    write("terminal", _svg(came, DEFAULT_TERMINAL_THEME), _svg(came, DIMMED_MONOKAI))


def run(folder: str, *words: str) -> str:
    """Return what a command of rbp prints in a folder."""
    command, env = [*RBP, *words], _environment()
    return subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True).stdout


def states(folder: str) -> list[str]:
    """Return the states of the sweep's cells."""
    return [run["state"] for run in json.loads(run(folder, "status", "runs/mine", "--json"))]


def _in_the_middle(states: list[str]) -> bool:
    if not {"running", "queued"} & set(states):
        raise RuntimeError("the sweep was over before it was recorded")
    return states.count("done") >= 2 and "running" in states and "queued" in states


def on_a_terminal(folder: str, *words: str) -> str:
    """Return what a command prints, with its colours, where it believes to be on a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*RBP, *words], cwd=folder, env=_environment(), stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        parts = []
        while part := _read(ours):
            parts.append(part)
        process.wait()
    os.close(ours)
    return b"".join(parts).decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""


def _environment() -> dict[str, str]:
    more = {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "PYTHONPATH": str(FOLDER.parents[1])}
    return os.environ | more | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}


def _svg(came: str, theme: TerminalTheme) -> str:
    console = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {SHOWN}", style="bold"))
    console.print(Text.from_ansi(came))
    return _FONT.sub("", console.export_svg(title="rbp", theme=theme, unique_id="rbp"))
