"""What a start of a sweep is to do: which of its cells run, which are left alone, and why."""

from collections import Counter
from dataclasses import dataclass

from rbp.config.launchers import SweeperSettings
from rbp.sweep.grid.cell import Cell
from rbp.sweep.state.states import STATES, RunState, observe


@dataclass(frozen=True)
class Plan:
    """Cells in their order with their states; todo: those to run now."""

    cells: list[Cell]
    states: list[RunState]
    todo: list[Cell]

    def summary(self) -> str:
        """How many cells there are in each state."""
        one = len(self.cells) == 1
        if all(state.name == "done" for state in self.states):
            return "The cell is done." if one else f"All {len(self.cells)} cells are done."
        return f"{len(self.cells)} {'cell' if one else 'cells'}: {tell_counts(self.states)}."


def make_plan(cells: list[Cell], settings: SweeperSettings) -> Plan:
    """Look at the run folders as they are now."""
    states = observe([cell.folder for cell in cells], compare_code=True)
    todo = [cell for cell, state in zip(cells, states, strict=True) if _is_wanted(state, settings)]
    return Plan(cells, states, todo)


def _is_wanted(state: RunState, settings: SweeperSettings) -> bool:
    if state.at_work or state.name == "done":
        return False
    if state.name == "stale":
        return settings.rerun_stale
    return state.name != "failed" or settings.retry


def tell_counts(states: list[RunState]) -> str:
    """Such as "3 done, 1 failed"."""
    counts = Counter(state.name for state in states)
    return ", ".join(f"{counts[name]} {name}" for name in STATES if counts[name])
