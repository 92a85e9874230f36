"""`rbp status|logs|retry|cancel`: what one asks of sweeps from their run folders alone, in any shell."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rbp.code_version import code_version
from rbp.errors import ConfigError
from rbp.output import Screen, say
from rbp.runfolder import RunFolder
from rbp.sweep.jobs import LOCAL
from rbp.sweep.marks import mark, unless_at_work
from rbp.sweep.plan import tell_counts
from rbp.sweep.states import State, observe
from rbp.sweep.sweepfolder import SweepFolder, is_run, sweep_of

CANCEL_WAIT = 60.0  # seconds for jobs to save and end


def add_paths(parser: argparse.ArgumentParser) -> None:
    """The arguments of `rbp status` and `rbp cancel`."""
    parser.add_argument("path", type=Path, nargs="+", metavar="PATH", help="runs/SWEEP, runs/SWEEP/RUN")


def add_run(parser: argparse.ArgumentParser) -> None:
    """The argument of `rbp logs`."""
    parser.add_argument("path", type=Path, metavar="RUN", help="runs/SWEEP/RUN")


def add_retry(parser: argparse.ArgumentParser) -> None:
    """The arguments of `rbp retry`."""
    add_paths(parser)
    parser.add_argument("--stale", action="store_true", help="also what other code than this computed")
    parser.add_argument("--no-wait", action="store_true", help="return when the jobs are submitted")


def status(args: argparse.Namespace) -> int:
    """Every run with its state; exit code 1 if one failed or was lost."""
    from rbp.sweep.watch import tell_state

    wrong = False
    for path in args.path:
        folders = _runs(path)
        states = observe(folders, code_version()["hash"])
        tell_state([(folder.name, state) for folder, state in zip(folders, states, strict=True)], Screen())
        say(f"{path}: {len(folders)} runs: {tell_counts(states)}")
        wrong = wrong or any(state.went_wrong for state in states)
    return int(wrong)


def logs(args: argparse.Namespace) -> int:
    """What one run wrote, and its job."""
    run = RunFolder(_one_run(args.path))
    (state,) = observe([run.path])
    say(f"{run.path.name}: {state.name}{': ' + state.reason if state.reason else ''}")
    if run.log.exists():
        sys.stdout.write(run.log.read_text(errors="replace"))
    job = str(state.status.get("job_id") or "")
    for file in sorted(SweepFolder(run.path.parent).jobs.glob(f"{job}_*log.out")) if job else []:
        say(f"--- {file}")
        sys.stdout.write(file.read_text(errors="replace"))
    if job.startswith(LOCAL):
        say(f"The output of its process is in {SweepFolder(run.path.parent).jobs}/local-*.log")
    return 0


def retry(args: argparse.Namespace) -> int:
    """Run again what is not done, failed ones too, by the launcher it had."""
    from rbp.sweep.again import again

    for path in args.path:
        again(path, _runs(path), stale=args.stale, wait=not args.no_wait)
    return 0


def cancel(args: argparse.Namespace) -> int:
    """Stop jobs, which save first; exit code 1 if some have not ended."""
    left = 0
    for path in args.path:
        left += _cancel_runs(path, _runs(path))
    return int(left > 0)


def _cancel_runs(path: Path, folders: list[Path]) -> int:
    """Stop what is at work below path; returns how many runs have not ended."""
    states = observe(folders)
    live = [(f, s) for f, s in zip(folders, states, strict=True) if s.at_work]
    if not live:
        say(f"{path}: nothing to cancel: {tell_counts(states)}")
        return 0
    _stop_jobs(live)
    waiting = [folder for folder, _ in live]
    end = time.monotonic() + CANCEL_WAIT
    while waiting and time.monotonic() < end:
        waiting = [folder for folder in waiting if not _mark_cancelled(folder)]
        time.sleep(0.2 if waiting else 0)
    say(f"{path}: {len(live) - len(waiting)} cancelled")
    if waiting:
        say(f"{len(waiting)} still at work, among them {waiting[0].name}; their jobs were told to end")
    return len(waiting)


def _stop_jobs(live: Sequence[tuple[Path, State]]) -> None:
    from rbp.sweep import slurm

    ids = {str(state.status.get("job_id") or "") for _, state in live}
    slurm.cancel(sorted(i for i in ids if i and not i.startswith(LOCAL)))
    for folder, state in live:
        job_id = str(state.status.get("job_id") or "")
        if state.name == "queued":  # a pool passes it over, a Slurm job likewise
            mark(folder, "cancelled", error="by rbp cancel")
        elif (not job_id or job_id.startswith(LOCAL)) and state.status.get("host") == os.uname().nodename:
            _signal(int(state.status.get("pid") or 0))
        elif not job_id or job_id.startswith(LOCAL):
            raise ConfigError(f"{folder}: runs on {state.status.get('host')}; cancel it there")


def _signal(pid: int) -> None:
    """Ask the process of a run to save and end."""
    try:
        if pid:
            os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass


def _mark_cancelled(folder: Path) -> bool:
    """Whether a run has ended; it is then cancelled unless it was done."""
    with unless_at_work(folder) as free:
        if free:
            (state,) = observe([folder])
            if not state.is_done and state.name not in ("failed", "cancelled"):
                mark(folder, "cancelled", error="by rbp cancel")
        return free


def _runs(path: Path) -> list[Path]:
    """The run folders that a path stands for. Raises ConfigError where there are none."""
    if is_run(path):
        return [path]
    return sweep_of(path).runs()


def _one_run(path: Path) -> Path:
    if not is_run(path):
        sweep_of(path)
        raise ConfigError(f"{path}: is a sweep; name one run in it")
    return path
