"""`rbp sync`: uploads the wandb runs of finished runs, once each, through wandb's own sync."""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from rbp.errors import UserError
from rbp.locks import locked
from rbp.output import say
from rbp.runs.folder import find_runs
from rbp.runs.result import read_result
from rbp.runs.status import current_status
from rbp.track.follow import LOCK
from rbp.track.segments import mark_of, segments

FINISHED = ("done", "failed", "cancelled")
AT_ONCE = 100  # runs in one call of wandb
EMPTY = 8  # bytes: no more than wandb's own header, all that is left of a run killed at once


class Counts(NamedTuple):
    """Of runs: uploaded now, uploaded before, not finished, in another process's hands, of the same identity
    as one of the others."""

    uploaded: int = 0
    before: int = 0
    waiting: int = 0
    busy: int = 0
    twins: int = 0


def sync(paths: list[Path]) -> Counts:
    """Upload the segments that have no mark that the service has them, and count their runs.

    One that an online run or another sync left half sent is sent whole: of a step that comes again the
    service keeps one. A run that may still go on is left for later, so that its steps arrive in order.
    Raises UserError in wandb's own words where something was not taken.
    """
    every = [folder for folder in find_runs(paths) if _files(folder)]
    folders = _one_each(every)
    total = Counts(twins=len(every) - len(folders))
    for start in range(0, len(folders), AT_ONCE):
        found = _sync_some(folders[start : start + AT_ONCE])
        total = Counts(*(a + b for a, b in zip(total, found, strict=True)))
    return total


def _one_each(folders: list[Path]) -> list[Path]:
    """One folder of each identity, which is one run in wandb: uploaded before, else done, else the first."""
    best: dict[str, Path] = {}
    for folder in folders:
        if folder.name not in best or _worth(folder) > _worth(best[folder.name]):
            best[folder.name] = folder
    return list(best.values())


def _worth(folder: Path) -> tuple[bool, bool]:
    return any(mark_of(file).exists() for file in _files(folder)), read_result(folder) is not None


def _sync_some(folders: list[Path]) -> Counts:
    """With the locks of these runs held: what another process follows or uploads is left to it."""
    todo: list[Path] = []
    uploaded = before = waiting = busy = 0
    with contextlib.ExitStack() as held:
        for folder in folders:
            if not held.enter_context(locked(folder / LOCK)):
                busy += 1
            elif not (left := [file for file in _files(folder) if not mark_of(file).exists()]):
                before += 1
            elif current_status(folder).state not in FINISHED:
                waiting += 1
            else:
                todo += left
                uploaded += 1
        if todo:
            _upload(todo)
    return Counts(uploaded, before, waiting, busy)


def _files(folder: Path) -> list[Path]:
    return [file for file in segments(folder / "wandb") if file.stat().st_size > EMPTY]


def _upload(files: list[Path]) -> None:
    folders = [str(file.parent) for file in files]
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", *folders]
    with tempfile.TemporaryDirectory() as place:  # for wandb's own logs
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=os.environ | {"WANDB_DIR": place},
        )
    refused = [file.parent for file in files if not mark_of(file).exists()]
    if refused:
        words = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise UserError(f"{refused[0]}: not uploaded ({len(refused)} of {len(files)} in all):\n{words}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `rbp sync`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="sweeps' or runs' folders")


def command(args: argparse.Namespace) -> int:
    """`rbp sync`: upload and say what was."""
    found = sync(args.paths)
    parts = [f"{found.uploaded} runs uploaded", f"{found.before} were before"]
    parts += [f"{found.waiting} not finished: left for later"] if found.waiting else []
    parts += [f"{found.busy} in another process's hands: left to it"] if found.busy else []
    parts += [f"{found.twins} left out: the same run in another sweep is sent"] if found.twins else []
    say(", ".join(parts))
    return 0
