"""Show the cells of a sweep while jobs work: a live table on a terminal, a line per change elsewhere."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rbp.config.text import duration
from rbp.output import Screen, say
from rbp.sweep.state.plan import format_counts
from rbp.sweep.state.states import RunState, observe

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
            live.update(_view(cells, states, screen.height - 4), refresh=True)
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


def _view(cells: Sequence[tuple[str, Path]], states: Sequence[RunState], room: int) -> Group:
    pairs = [(label, state) for (label, _), state in zip(cells, states, strict=True)]
    if len(pairs) > room:
        pairs = [pair for name in _FIRST for pair in pairs if pair[1].name == name][: max(room, 1)]
    return Group(state_table(pairs), Text(format_counts(list(states))))


def print_states(lines: Sequence[tuple[str, RunState]], screen: Screen) -> None:
    """Print cells and their states: a table on a terminal, aligned lines elsewhere.

    Args:
        lines: Label and state of each cell.
        screen: The console to print to.
    """
    if screen.is_terminal:
        screen.print(state_table(lines))
        return
    width = max(len(label) for label, _ in lines)
    for label, state in lines:
        say(f"{label:<{width}}  {state.name:<9}  {_line(state)}".rstrip())


def state_table(lines: Sequence[tuple[str, RunState]]) -> Table:
    """Return a rich table of cells, given the label and state of each."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("cell", "state", "progress"):
        table.add_column(title, overflow="fold")
    for label, state in lines:
        table.add_row(Text(label), Text(state.name, style=_STYLE.get(state.name, "")), Text(_line(state)))
    return table


_STYLE = {"done": "green", "failed": "bold red", "lost": "bold red", "running": "cyan", "stale": "yellow"}


def _line(state: RunState) -> str:
    """Return what to show beside a state: the result, the progress, or the reason."""
    if state.result:
        return f"test acc {100 * state.result['test_acc']:.2f}%"
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
