"""`rbp sync`: uploads the offline wandb runs of finished runs, once each, through wandb's own sync."""

import argparse
import subprocess
import sys
from pathlib import Path

from rbp.errors import UserError
from rbp.output import say
from rbp.runfolder import find_runs, read_state
from rbp.track.segments import segments

FINISHED = ("done", "failed", "cancelled")
AT_ONCE = 100  # runs in one call of wandb
EMPTY = 8  # bytes: no more than wandb's own header, all that is left of a run killed at once


def sync(paths: list[Path]) -> tuple[int, int, int]:
    """Upload what is not uploaded yet; returns how many runs were, were before, and are not finished.

    A run that may still go on is left for later, so that its steps arrive in order. Raises UserError in
    wandb's own words where something was not taken.
    """
    todo: dict[Path, list[Path]] = {}
    before = waiting = 0
    for folder in find_runs(paths):
        files = [file for file in segments(folder / "wandb") if file.stat().st_size > EMPTY]
        left = [file for file in files if not is_synced(file)]
        if not files:
            continue
        if not left:
            before += 1
        elif read_state(folder)["state"] not in FINISHED:
            waiting += 1
        else:
            todo[folder] = left
    folders = list(todo)
    for start in range(0, len(folders), AT_ONCE):
        _upload([file for folder in folders[start : start + AT_ONCE] for file in todo[folder]])
    return len(todo), before, waiting


def is_synced(file: Path) -> bool:
    """Whether wandb has left its mark beside a file that it uploaded; online runs were on their way."""
    return file.with_name(f"{file.name}.synced").exists() or not file.parent.name.startswith("offline-")


def _upload(files: list[Path]) -> None:
    command = [sys.executable, "-m", "wandb", "sync", *(str(file.parent) for file in files)]
    told = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    refused = [file.parent for file in files if not is_synced(file)]
    if refused:
        words = "\n".join((told.stdout + told.stderr).strip().splitlines()[-8:])
        raise UserError(f"{refused[0]}: not uploaded ({len(refused)} of {len(files)} in all):\n{words}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `rbp sync`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="sweeps' or runs' folders")


def command(args: argparse.Namespace) -> int:
    """`rbp sync`: upload and say what was."""
    uploaded, before, waiting = sync(args.paths)
    parts = [f"{uploaded} runs uploaded", f"{before} were before"]
    parts += [f"{waiting} not finished: left for later"] if waiting else []
    say(", ".join(parts))
    return 0
