"""`rbp status|logs|retry|cancel`: inspect and control sweeps, given only their run folders."""

import argparse
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from rbp.errors import ConfigError, SweepFailed
from rbp.output import Screen, say
from rbp.runs.folder import RunFolder, is_run
from rbp.runs.status import mark, run_lock
from rbp.sweep.state.jobs import LOCAL, is_slurm_job
from rbp.sweep.state.plan import format_counts
from rbp.sweep.state.states import RunState, observe
from rbp.sweep.state.sweepfolder import SweepFolder, sweep_of

CANCEL_WAIT = 60.0  # seconds that `rbp cancel` waits for jobs to save and end


def add_paths(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp status` and `rbp cancel`."""
    parser.add_argument("path", type=Path, nargs="+", metavar="PATH", help="runs/SWEEP, runs/SWEEP/RUN")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the argument of `rbp logs`."""
    parser.add_argument("path", type=Path, metavar="RUN", help="runs/SWEEP/RUN")


def add_retry(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp retry`."""
    add_paths(parser)
    parser.add_argument("--stale", action="store_true", help="also what other code than this computed")
    parser.add_argument("--no-wait", action="store_true", help="return when the jobs are submitted")


def status(args: argparse.Namespace) -> int:
    """Print every run with its state; return the exit code, 1 if a run failed or was lost."""
    from rbp.sweep.state.watch import print_states

    wrong = False
    for path in args.path:
        folders = _runs(path)
        states = observe(folders, compare_code=True)
        print_states([(folder.name, state) for folder, state in zip(folders, states, strict=True)], Screen())
        say(f"{path}: {len(folders)} runs: {format_counts(states)}")
        wrong = wrong or any(state.went_wrong for state in states)
    return int(wrong)


def logs(args: argparse.Namespace) -> int:
    """Print the log of one run and the output of its job."""
    run = RunFolder(_one_run(args.path))
    (state,) = observe([run.path])
    say(f"{run.path.name}: {state.name}{': ' + state.reason if state.reason else ''}")
    if run.log.exists():
        say(run.log.read_text(errors="replace").rstrip("\n"))
    job = state.status.job_id or ""
    of_job = f"{job}_*log.out" if is_slurm_job(job) else ""
    for file in sorted(SweepFolder(run.path.parent).jobs.glob(of_job)) if of_job else []:
        say(f"--- {file}")
        say(file.read_text(errors="replace").rstrip("\n"))
    if job.startswith(LOCAL):
        say(f"The output of its process is in {SweepFolder(run.path.parent).jobs}/local-*.log")
    return 0


def retry(args: argparse.Namespace) -> int:
    """Start unfinished runs again, failed ones included, with the launcher that the sweep was started with.

    Raises:
        SweepFailed: Some runs failed again; the message covers all paths.
    """
    from rbp.sweep.retry import retry_runs

    failed = []
    for path in args.path:
        try:
            retry_runs(_runs(path), stale=args.stale, wait=not args.no_wait)
        except SweepFailed as error:  # the remaining paths are still retried
            failed.append(str(error))
    if failed:
        raise SweepFailed("\n".join(failed))
    return 0


def cancel(args: argparse.Namespace) -> int:
    """Stop jobs, which save a checkpoint first; return the exit code, 1 if some have not ended."""
    left = 0
    for path in args.path:
        left += _cancel_runs(path, _runs(path))
    return int(left > 0)


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
    from rbp.sweep.launchers import sbatch

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


def _runs(path: Path) -> list[Path]:
    """Return the run folders that a path stands for. Raise ConfigError if there are none."""
    named = _named(path)
    if is_run(named):
        return [named]
    if not (runs := sweep_of(named).runs()):
        raise ConfigError(f"{path}: there are no runs in it yet; start the sweep by launch.py")
    return runs


def _named(path: Path) -> Path:
    """Return a path that ends in the folder's name, since a run is identified by it; `.` has no name."""
    return path if path.name and ".." not in path.parts else Path(os.path.abspath(path))


def _one_run(path: Path) -> Path:
    named = _named(path)
    if not is_run(named):
        sweep_of(named)
        raise ConfigError(f"{path}: is a sweep; name one run in it")
    return named
