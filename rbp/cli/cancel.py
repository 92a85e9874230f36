"""`rbp cancel`: stop the jobs of runs, which save a checkpoint first."""

import argparse
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from rbp.cli.picked import add_paths, pick_all
from rbp.errors import ConfigError
from rbp.runs.status import mark, run_lock
from rbp.sweep.slurm import sbatch
from rbp.sweep.state.jobs import is_slurm_job
from rbp.sweep.state.plan import format_counts
from rbp.sweep.state.states import RunState, observe
from rbp.sweep.state.sweepfolder import SweepFolder
from rbp.terminal.output import say

CANCEL_WAIT = 60.0  # seconds that `rbp cancel` waits for jobs to save and end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp cancel`."""
    add_paths(parser)


def command(args: argparse.Namespace) -> int:
    """Stop jobs; return the exit code, 1 if some have not ended."""
    picked = pick_all(args.words)
    return int(sum(_cancel_runs(path, [run.folder for run in runs]) for path, runs in picked.items()) > 0)


def _cancel_runs(path: Path, folders: list[Path]) -> int:
    """Stop the active runs in `folders`; return how many have not ended within CANCEL_WAIT seconds."""
    states = observe(folders)
    live = [(f, s) for f, s in zip(folders, states, strict=True) if s.at_work]
    if not live:
        say(f"{path}: nothing to cancel: {format_counts(states)}")
        return 0
    _refuse_elsewhere(live)
    _stop_jobs(live)
    waiting, asked = [folder for folder, _ in live], set[int]()
    end = time.monotonic() + CANCEL_WAIT
    while waiting and time.monotonic() < end:
        waiting = [folder for folder in waiting if not _mark_cancelled(folder, asked)]
        time.sleep(0.2 if waiting else 0)
    say(f"{path}: {len(live) - len(waiting)} cancelled")
    if waiting:
        say(f"{len(waiting)} still at work, among them {waiting[0].name}; their jobs were told to end")
    return len(waiting)


def _refuse_elsewhere(live: Sequence[tuple[Path, RunState]]) -> None:
    for folder, state in live:
        host = state.status.host
        if state.name == "running" and not _slurms_job(state) and host != os.uname().nodename:
            raise ConfigError(f"{folder}: runs on {host}; cancel it there")


def _stop_jobs(live: Sequence[tuple[Path, RunState]]) -> None:
    """Cancel the Slurm jobs of these runs.

    A job that also has other active runs is not cancelled: it skips those of its queued runs that are marked
    cancelled. Raise ConfigError if it is already working on one of these runs.
    """
    jobs = {job: folder for folder, state in live if (job := _slurms_job(state))}
    if not jobs:
        return
    mine = {folder for folder, _ in live}
    others = [run for parent in {folder.parent for folder in mine} for run in SweepFolder(parent).runs()]
    others = [run for run in others if run not in mine]
    seen = zip(others, observe(others), strict=True)
    shared = {_slurms_job(state): run for run, state in seen if state.at_work}
    for folder, state in live:
        if state.name != "queued" and (run := shared.get(job := _slurms_job(state))) and job:
            raise ConfigError(f"{folder}: job {job} has {run.name} too, and would end with it; name both")
    sbatch.cancel(sorted(set(jobs) - set(shared)))


def _slurms_job(state: RunState) -> str:
    job = state.status.job_id or ""
    return job if is_slurm_job(job) else ""


def _mark_cancelled(folder: Path, asked: set[int]) -> bool:
    """Mark a run as cancelled if it has ended without a result; return whether it has ended.

    A local process that still works is asked to end.

    Args:
        folder: The run's folder.
        asked: Ids of the processes already asked to end; updated in place.
    """
    try:
        with run_lock(folder) as free:
            (state,) = observe([folder])
            if not free and not _slurms_job(state):
                _ask_to_end(state.status.pid, asked)
            if free and not state.is_done and state.name not in ("failed", "cancelled"):
                mark(folder, "cancelled", error="by rbp cancel")
            return free
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: cannot be written: {error.strerror}") from error


def _ask_to_end(pid: int | None, asked: set[int]) -> None:
    """Send SIGTERM to the process of a run, once, so that it saves and ends.

    Ids up to 1 are ignored: to `os.kill` they mean init or whole groups of processes.
    """
    if pid is None or pid <= 1 or pid in asked:
        return
    asked.add(pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGTERM)
