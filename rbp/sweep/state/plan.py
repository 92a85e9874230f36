"""Decide which cells of a sweep a start runs, and which it leaves alone."""

from collections import Counter
from dataclasses import dataclass

from rbp.config.launchers import SweeperSettings
from rbp.sweep.grid.cell import Cell
from rbp.sweep.state.states import STATES, RunState, observe


@dataclass(frozen=True)
class Plan:
    """What a start of a sweep will do.

    Attributes:
        cells: All cells, in order.
        states: The state of each cell.
        todo: The cells to run now.
    """

    cells: list[Cell]
    states: list[RunState]
    todo: list[Cell]

    def summary(self) -> str:
        """Return a sentence with the number of cells in each state."""
        one = len(self.cells) == 1
        if all(state.name == "done" for state in self.states):
            return "The cell is done." if one else f"All {len(self.cells)} cells are done."
        return f"{len(self.cells)} {'cell' if one else 'cells'}: {format_counts(self.states)}."


def make_plan(cells: list[Cell], settings: SweeperSettings) -> Plan:
    """Make a plan from the current states of the run folders.

    Args:
        cells: All cells of the sweep.
        settings: Whether to run failed (retry) and stale (rerun_stale) cells.
    """
    states = observe([cell.folder for cell in cells], compare_code=True)
    todo = [cell for cell, state in zip(cells, states, strict=True) if _is_wanted(state, settings)]
    return Plan(cells, states, todo)


def _is_wanted(state: RunState, settings: SweeperSettings) -> bool:
    if state.at_work or state.name == "done":
        return False
    if state.name == "stale":
        return settings.rerun_stale
    return state.name != "failed" or settings.retry


def format_counts(states: list[RunState]) -> str:
    """Return the number of runs in each state as text, such as "3 done, 1 failed"."""
    counts = Counter(state.name for state in states)
    return ", ".join(f"{counts[name]} {name}" for name in STATES if counts[name])
