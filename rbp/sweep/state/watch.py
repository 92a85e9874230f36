"""Show the cells of a sweep while jobs work: a live table on a terminal, a line per change elsewhere."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.live import Live
from rich.text import Text

from rbp.config.text import duration
from rbp.runs.result import in_short
from rbp.sweep.state.failures import UNKNOWN, Failure, failure_lines
from rbp.sweep.state.plan import format_counts
from rbp.sweep.state.states import RunState, observe
from rbp.terminal.output import Screen, say
from rbp.terminal.wrapping import GAP, MARGIN, fold, in_columns, unbroken, widths_within

LOOK = 5.0  # seconds between updates; each reads the run folders and, on a cluster, queries Slurm once
_FIRST = ("running", "failed", "lost", "preempted", "queued")  # shown, in this order, if not all cells fit


def watch(cells: Sequence[tuple[str, Path]], sweep: Path) -> None:
    """Show the states of cells until none has a job any more; Ctrl-C ends the display, not the jobs.

    Args:
        cells: The label and the run folder of each cell.
        sweep: The folder of the sweep, for the message on Ctrl-C.
    """
    screen = Screen(highlight=False)
    try:
        if screen.is_terminal and not screen.is_dumb_terminal:
            _live(cells, screen)
        else:
            _lines(cells)
    except KeyboardInterrupt:
        say(
            "\nThe jobs go on. The same command comes back to them; "
            f"rbp status {sweep} shows them, rbp cancel {sweep} stops them."
        )


def _live(cells: Sequence[tuple[str, Path]], screen: Screen) -> None:
    with Live(console=screen, auto_refresh=False, transient=True) as live:
        while True:
            states = observe([folder for _, folder in cells])
            live.update(_view(cells, states, screen.height - 4, screen.width), refresh=True)
            if not any(state.at_work for state in states):
                return
            time.sleep(LOOK)


def _lines(cells: Sequence[tuple[str, Path]]) -> None:
    known: dict[Path, str] = {}
    while True:
        states = observe([folder for _, folder in cells])
        for (label, folder), state in zip(cells, states, strict=True):
            if known.get(folder) != state.name:
                say(f"{state.name:<9} {label}  {_line(state)}".rstrip())
            known[folder] = state.name
        if not any(state.at_work for state in states):
            return
        time.sleep(LOOK)


def _view(cells: Sequence[tuple[str, Path]], states: Sequence[RunState], room: int, width: int) -> Text:
    every = [Cell(label, folder, state) for (label, folder), state in zip(cells, states, strict=True)]
    end = [Text(row) for line in failures(every) for row in fold(line, width)][: room // 2]
    end.append(Text(format_counts(list(states))))
    room = max(room - (len(end) - 1), 1)
    some = [cell for name in _FIRST for cell in every if cell.state.name == name][:room]
    head, *lines = state_table(every if len(every) <= room else some, width)
    if sum(map(len, lines)) > room:
        head, *lines = state_table(some, width)
        while len(lines) > 1 and sum(map(len, lines)) > room:
            lines.pop()
    return Text("\n").join([*[row for cell in [head, *lines] for row in cell], *end])


@dataclass(frozen=True)
class Cell:
    """A cell to show, with its state."""

    label: str
    folder: Path
    state: RunState


def print_states(cells: Sequence[Cell], screen: Screen) -> None:
    """Print cells and their states: a table and the failures on a terminal, aligned lines elsewhere."""
    if screen.is_terminal:
        for row in [row for rows in state_table(cells, screen.width) for row in rows]:
            screen.print(row, soft_wrap=True)
        for line in failures(cells):
            say(line)
        return
    width = max(len(cell.label) for cell in cells)
    for cell in cells:
        say(f"{cell.label:<{width}}  {cell.state.name:<9}  {_line(cell.state)}".rstrip())


def failures(cells: Sequence[Cell]) -> list[str]:
    """Return a line for every reason for which cells failed."""
    wrong = [cell for cell in cells if cell.state.went_wrong]
    return failure_lines(
        Failure(cell.label, cell.state.name, cell.state.reason or UNKNOWN, cell.folder.name, cell.folder)
        for cell in wrong
    )


def state_table(cells: Sequence[Cell], width: int) -> list[list[Text]]:
    """Return the table of cells: for its head and for each cell the rows of the screen that it takes.

    Where the three columns do not fit, there is no head, and each cell has its state below it.

    Args:
        cells: The cells.
        width: Columns of the screen; only a word that is longer runs over its edge.
    """
    lines = [("cell", "state", "progress")]
    for cell in cells:
        line = "" if cell.state.went_wrong else _line(cell.state)
        lines.append((cell.label, cell.state.name, "  ".join(map(unbroken, line.split("  ")))))
    widths = widths_within(lines, width, flexible=(0, 2))
    if sum(widths) + 2 * GAP > width:  # a key's value is too long to have anything beside it
        return [[], *(_below(cell, line, width) for cell, (_, _, line) in zip(cells, lines[1:], strict=True))]
    table = [[Text(row) for row in in_columns(line, widths)] for line in lines]
    start = widths[0] + GAP
    table[0][0].stylize("bold")
    for cell, rows in zip(cells, table[1:], strict=True):
        rows[0].stylize(_STYLE.get(cell.state.name, ""), start, start + len(cell.state.name))
    return table


def _below(cell: Cell, line: str, width: int) -> list[Text]:
    """Return a cell with its state below it."""
    label, state = fold(cell.label, width), fold(f"{MARGIN}{cell.state.name}  {line}", width)
    rows = [Text(row) for row in (*label, *state)]
    start = len(MARGIN)
    rows[len(label)].stylize(_STYLE.get(cell.state.name, ""), start, start + len(cell.state.name))
    return rows


_STYLE = {"done": "green", "failed": "bold red", "lost": "bold red", "running": "cyan", "stale": "yellow"}


def _line(state: RunState) -> str:
    """Return what to show beside a state: the result, the progress, or the reason."""
    if state.result:
        return in_short(state.result)
    if state.name in ("running", "preempted") and not state.reason:
        return _progress(state)
    return state.reason


def _progress(state: RunState) -> str:
    known = state.status.numbers
    parts = []
    if epochs := known.get("epochs"):
        parts.append(f"epoch {min(known.get('epoch', 0) + 1, epochs)}/{epochs}")
    if "test_acc" in known:
        parts.append(f"test acc {100 * known['test_acc']:.2f}%")
    if state.name == "running" and "seconds_left" in known:
        parts.append(f"{duration(known['seconds_left'])} left")
    return "  ".join(parts)
