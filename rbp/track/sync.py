"""`rbp sync`: upload the wandb data of finished runs, once each, with `wandb sync`."""

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
from rbp.track.segments import segments, upload_marker

FINISHED = ("done", "failed", "cancelled")
AT_ONCE = 100  # runs per call of wandb
EMPTY = 8  # bytes up to which a file counts as empty: wandb's header, left by a run killed at once


class Counts(NamedTuple):
    """Number of runs by outcome of the sync.

    Attributes:
        uploaded: Uploaded now.
        before: Uploaded before.
        waiting: Not finished, left for later.
        busy: Being followed or uploaded by another process.
        twins: Skipped, since another folder with the same identity is uploaded instead.
    """

    uploaded: int = 0
    before: int = 0
    waiting: int = 0
    busy: int = 0
    duplicates: int = 0


def sync(paths: list[Path]) -> Counts:
    """Upload all segments without an upload marker, and count their runs.

    A segment that an online run or another sync left half sent is sent again as a whole; the service keeps
    one of two equal steps. A run that may still continue is left for later, so that its steps arrive in
    order.

    Args:
        paths: Sweep or run folders.

    Raises:
        UserError: wandb did not accept something; the message quotes wandb's output.
    """
    every = [folder for folder in find_runs(paths) if _files(folder)]
    folders = _one_each(every)
    total = Counts(duplicates=len(every) - len(folders))
    for start in range(0, len(folders), AT_ONCE):
        found = _sync_some(folders[start : start + AT_ONCE])
        total = Counts(*(a + b for a, b in zip(total, found, strict=True)))
    return total


def _one_each(folders: list[Path]) -> list[Path]:
    """Deduplicate by identity, which is one run in wandb.

    A folder that was uploaded before is preferred, then one that is done, then the first.
    """
    best: dict[str, Path] = {}
    for folder in folders:
        if folder.name not in best or _worth(folder) > _worth(best[folder.name]):
            best[folder.name] = folder
    return list(best.values())


def _worth(folder: Path) -> tuple[bool, bool]:
    """Return the sort key by which `_one_each` prefers a folder: (uploaded before, done)."""
    return any(upload_marker(file).exists() for file in _files(folder)), read_result(folder) is not None


def _sync_some(folders: list[Path]) -> Counts:
    """Upload these runs with their locks held; runs that another process follows or uploads are skipped."""
    todo: list[Path] = []
    uploaded = before = waiting = busy = 0
    with contextlib.ExitStack() as held:
        for folder in folders:
            if not held.enter_context(locked(folder / LOCK)):
                busy += 1
            elif not (left := [file for file in _files(folder) if not upload_marker(file).exists()]):
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
    """Return the segments of a run that are not empty."""
    return [file for file in segments(folder / "wandb") if file.stat().st_size > EMPTY]


def _upload(files: list[Path]) -> None:
    """Upload segments with `wandb sync`. Raises UserError if one of them has no marker afterwards."""
    folders = [str(file.parent) for file in files]
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", *folders]
    with tempfile.TemporaryDirectory() as place:  # for wandb's own logs
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {"WANDB_DIR": place},
        )
    refused = [file.parent for file in files if not upload_marker(file).exists()]
    if refused:
        words = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise UserError(f"{refused[0]}: not uploaded ({len(refused)} of {len(files)} in all):\n{words}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp sync` to a parser."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="sweeps' or runs' folders")


def command(args: argparse.Namespace) -> int:
    """Run `rbp sync`: upload and print a summary."""
    found = sync(args.paths)
    parts = [f"{found.uploaded} runs uploaded", f"{found.before} were before"]
    parts += [f"{found.waiting} not finished: left for later"] if found.waiting else []
    parts += [f"{found.busy} in another process's hands: left to it"] if found.busy else []
    same = f"{found.duplicates} left out: the same run in another sweep is sent"
    parts += [same] if found.duplicates else []
    say(", ".join(parts))
    return 0
