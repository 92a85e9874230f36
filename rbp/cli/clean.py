"""`rbp clean`: remove files that the runs of a sweep no longer need, to free disk space."""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

from rbp.errors import ConfigError
from rbp.runs.checkpoints import KEEP, kept_by, removable_checkpoints
from rbp.runs.config import read_config
from rbp.runs.folder import RunFolder, find_runs
from rbp.runs.status import run_lock
from rbp.sweep.state.states import RunState, observe
from rbp.sweep.state.sweepfolder import SweepFolder
from rbp.terminal.output import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp clean`."""
    parser.add_argument("path", type=Path, nargs="+", metavar="PATH", help="runs/SWEEP, runs/SWEEP/RUN")
    parser.add_argument("--keep", choices=KEEP, help="of a done run's checkpoints (as its config says)")
    parser.add_argument("--older", action="store_true", help="also results that rerun_stale=true put aside")
    parser.add_argument("--dry-run", action="store_true", help="tell what would go, and leave it")


def command(args: argparse.Namespace) -> int:
    """Remove surplus checkpoints of finished runs, and code snapshots that no job needs any more."""
    folders = find_runs(args.path)
    states = dict(zip(folders, observe(folders), strict=True))
    freed = 0
    for folder, state in states.items():
        if state.is_done:
            freed += _clean_run(folder, args)
    for sweep in dict.fromkeys(folder.parent for folder in folders):
        if not _any_at_work(sweep):
            freed += sum(_remove(copy, args.dry_run) for copy in _copies(sweep))
    verb = "would be freed; nothing was removed" if args.dry_run else "freed"
    say(f"{_count(states)}: {freed / 2**20:,.1f} MiB {verb}")
    return 0


def _clean_run(folder: Path, args: argparse.Namespace) -> int:
    """Clean the folder of a finished run unless a process is working in it; return the bytes freed."""
    with run_lock(folder) as free:
        return sum(_remove(path, args.dry_run) for path in _unneeded(folder, args)) if free else 0


def _unneeded(folder: Path, args: argparse.Namespace) -> Iterator[Path]:
    run = RunFolder(folder)
    try:
        keep = args.keep or kept_by(read_config(run.config)["trainer"])
    except (ConfigError, KeyError, TypeError):
        say(f"{run.config}: is damaged, so that all checkpoints stay; --keep says which to keep")
        keep = "all"
    yield from removable_checkpoints(run.checkpoints, keep)
    if args.older:
        yield from sorted(folder.glob("older-*"))


def _any_at_work(sweep: Path) -> bool:
    return any(state.at_work for state in observe(SweepFolder(sweep).runs()))


def _copies(sweep: Path) -> list[Path]:
    """Return the code snapshots that the jobs of a sweep ran from."""
    code = SweepFolder(sweep).code
    return sorted(code.iterdir()) if code.is_dir() else []


def _remove(path: Path, dry_run: bool) -> int:
    """Remove a file or a folder, unless this is a dry run; return its size in bytes."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    say(f"{path}  {size / 2**20:,.1f} MiB")
    if not dry_run:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return size


def _count(states: dict[Path, RunState]) -> str:
    done = sum(state.is_done for state in states.values())
    return f"{done} of {len(states)} runs are done" if len(states) != 1 else f"{done} run is done"
