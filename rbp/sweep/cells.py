"""Cells of a grid: what each is, whether it is done, and running them one after another in this process."""

import traceback
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rbp.errors import UserError
from rbp.identity import folder_name, run_folder
from rbp.output import say
from rbp.runfolder import read_result
from rbp.sweep.preflight import preflight
from rbp.sweep.table import Row, print_table


@dataclass
class Cell:
    """One run of a grid: its frozen config, and the values by which it differs from the others."""

    cfg: DictConfig
    choices: dict[str, str] = field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        return folder_name(self.cfg)

    @property
    def folder(self) -> Path:
        return run_folder(self.cfg)

    @property
    def label(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.choices.items()) or self.name


def run_cell(cfg: DictConfig) -> dict[str, Any]:
    """Train a frozen config in its folder, or evaluate it; returns the result."""
    from rbp.train import evaluate, train

    return (evaluate if cfg.eval_only else train)(cfg, run_folder(cfg))


def run_one(cfg: DictConfig) -> None:
    """A single run: its result, and where the files lie."""
    cell = Cell(cfg)
    result = _result_if_done(cell)
    if result is not None:
        say(f"{cell.name} is done already.")
    else:
        preflight([cfg])
        say(_begins(cell))
        result = run_cell(cfg)
    print_table([Row(cell.choices, cell.name, result)])
    say(_evaluated(cell, result) if cfg.eval_only else f"Files: {cell.folder}")


def run_grid(cells: list[Cell]) -> int:
    """Run the cells that are not done, show all side by side; the exit code: 1 if one failed."""
    results = [_result_if_done(cell) for cell in cells]
    todo = [cell for cell, result in zip(cells, results, strict=True) if result is None]
    preflight([cell.cfg for cell in todo])
    if todo:
        say(f"{len(cells)} cells, {len(cells) - len(todo)} done already.")
    else:
        say(f"All {len(cells)} cells are done.")
    rows = []
    for number, (cell, result) in enumerate(zip(cells, results, strict=True), 1):
        if result is None:
            say(f"[{number}/{len(cells)}] {cell.label}: {_begins(cell)}")
            rows.append(_attempt(cell))
        else:
            rows.append(Row(cell.choices, cell.name, result))
    print_table(rows)
    if not cells[0].cfg.eval_only:
        say(f"Files: {cells[0].folder.parent}")
    return int(any(row.error for row in rows))


def _result_if_done(cell: Cell) -> dict[str, Any] | None:
    return None if cell.cfg.eval_only else read_result(cell.folder)


def _begins(cell: Cell) -> str:
    if cell.cfg.eval_only:
        return f"evaluating {cell.cfg.checkpoint or cell.folder}"
    verb = "going on with" if (cell.folder / "checkpoints").exists() else "training in"
    return f"{verb} {cell.folder}"


def _evaluated(cell: Cell, result: dict[str, Any]) -> str:
    """Which checkpoint a result is of, and whether it was made with another config than this one."""
    told = f"Checkpoint: {result['checkpoint']}, epoch {result['epochs']}"
    if "val_acc" in result:
        told += f", val acc {100 * result['val_acc']:.2f}%"
    if result["made_with"] != cell.name:
        told += f"\nIt was made with another config, {result['made_with']}, and evaluated as {cell.name}"
    return told


def _attempt(cell: Cell) -> Row:
    """Run a cell of a grid; a failure is told and kept, so that it does not hide the others."""
    try:
        result = run_cell(cell.cfg)
        if cell.cfg.eval_only:
            say(_evaluated(cell, result))
        return Row(cell.choices, cell.name, result)
    except UserError as error:
        message = str(error)
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
    say(f"FAILED {cell.label}: {message}")
    where = "" if cell.cfg.eval_only else f" (log: {cell.folder / 'log.txt'})"
    return Row(cell.choices, cell.name, None, message + where)
