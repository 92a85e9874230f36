"""Processes of one's own: launch.py in a new Python, functions in processes that begin with everything
imported, and groups of those that are the ranks of one torch.distributed job.
"""

import contextlib
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from rbp.config.composition.places import ROOT

# A process made here has all this imported, in a tenth of the time that a new Python takes for it.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.support.preloaded"])


def launch(*argv: str, cwd: Path | None = None, seconds: float = 1200) -> subprocess.CompletedProcess[str]:
    """python launch.py with arguments, in another folder if cwd says so, and what it said."""
    command = [sys.executable, str(ROOT / "launch.py"), *argv]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=seconds)


# --- ranks --------------------------------------------------------------------------------------------------

WORLD = 2
Target = Callable[..., Any]  # (rank, *args) -> what `outcomes` returns


@contextlib.contextmanager
def started(
    folder: Path, target: Target, *args: Any, world: int = WORLD, context: Any = PROCESSES
) -> Iterator[list[ForkServerProcess]]:
    """Gloo processes that call target, by rank; each leaves in folder what it returned."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        # No daemons, which may have no processes of their own: those that decode images.
        context.Process(target=_rank, args=(rank, world, port, folder, target, args), daemon=False)
        for rank in range(world)
    ]
    try:
        for process in processes:
            process.start()
        yield processes
    finally:
        for process in processes:
            process.kill()


def outcomes(
    folder: Path, target: Target, *args: Any, world: int = WORLD, context: Any = PROCESSES
) -> list[Any]:
    """What target returned in each rank; of an error, (its type's name, its message)."""
    with started(folder, target, *args, world=world, context=context) as processes:
        return [outcome(folder, rank, process) for rank, process in enumerate(processes)]


def outcome(folder: Path, rank: int, process: ForkServerProcess) -> Any:
    """What target returned in one of the processes that were started; waits for its end."""
    process.join(timeout=120)
    assert process.exitcode == 0, process
    return torch.load(folder / f"{rank}.pt", weights_only=False)


def _rank(rank: int, world: int, port: int, folder: Path, target: Target, args: tuple[Any, ...]) -> None:
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(world),
        LOCAL_RANK=str(rank),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    stderr = os.open(folder / f"{rank}.err", os.O_WRONLY | os.O_CREAT)
    os.dup2(stderr, 2)
    torch.set_num_threads(1)
    torch.save(attempt(target, rank, *args), folder / f"{rank}.pt")


def attempt(target: Target, *args: Any) -> Any:
    """What target returns; of an error, (its type's name, its message)."""
    try:
        return target(*args)
    except Exception as error:
        return type(error).__name__, str(error)
