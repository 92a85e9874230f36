"""Ranks that torchrun or its like have started: the first does a sweep's work, the others train with it.

Only the first reads the command line, prepares data, moves stale results, prints and writes the report. The
others wait until it tells them to train a cell, as its partners, or to end.
"""

import contextlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbp.errors import UserError
from rbp.sweep.grid.cell import Cell

if TYPE_CHECKING:
    from rbp.train.ranks import Ranks

LINGER = 15.0  # seconds that a first rank that hosts the store stays for the others to hear of the end
_LOOK = 0.1
_told = 0  # how many cells this process, the first rank, has told the others


def is_crew() -> bool:
    """Whether this process is one of several ranks."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def begin() -> bool:
    """Let the other ranks know that the first one is here; return whether this is the first.

    Raises:
        ConfigError: The variables that say which rank this is are incomplete or wrong.
    """
    from rbp.train.meeting import connect

    ranks = _ranks()
    if ranks.first:
        connect(ranks.rank, ranks.world)
    return ranks.first


def tell(cell: Cell) -> None:
    """Make the other ranks train this cell together with the first."""
    global _told
    if not is_crew() or cell.values["eval_only"]:  # evaluation is the first rank's alone
        return
    from rbp.train.meeting import meet

    ranks = _ranks()
    task = {"values": cell.values, "folder": str(cell.folder.absolute())}
    meet(ranks.rank, ranks.world).set(f"task {_told}", json.dumps(task))
    _told += 1


def dismiss(code: int) -> None:
    """Tell the other ranks to end with this exit code, and give them time to hear it."""
    from rbp.train.meeting import connect, hosted_by_torchrun

    ranks = _ranks()
    with contextlib.suppress(RuntimeError):  # they are gone
        board = connect(ranks.rank, ranks.world)
        board.set("end", str(code))
        until = time.monotonic() + (0 if hosted_by_torchrun() or code else LINGER)
        others = [f"bye {rank}" for rank in range(1, ranks.world)]
        while time.monotonic() < until and not board.check(others):
            time.sleep(_LOOK)


def follow() -> int:
    """Train what the first rank says until it says that all is done; return the exit code that it gives.

    Failures of a cell are the first rank's to report, and it goes on with the next cell.

    Raises:
        TrainingError: The first rank never came.
    """
    from rbp.train.meeting import connect

    ranks = _ranks()
    board = connect(ranks.rank, ranks.world)
    done = 0
    while True:
        if board.check([f"task {done}"]):
            _train(json.loads(board.get(f"task {done}")))
            done += 1
        elif board.check(["end"]):
            board.set(f"bye {ranks.rank}", "")
            return int(board.get("end"))
        else:
            time.sleep(_LOOK)


def _train(task: dict[str, Any]) -> None:
    from rbp.train import train

    try:
        train(Cell(task["values"]).cfg, Path(task["folder"]))
    except UserError:
        pass  # the first rank says so
    except Exception:
        traceback.print_exc(file=sys.stderr)


def _ranks() -> "Ranks":
    from rbp.train.ranks import ranks_from_environment

    return ranks_from_environment()
