"""Determine the state of a run from its folder and, if it can be queried, its job."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rbp.provenance import why_stale
from rbp.runs.folder import RunFolder
from rbp.runs.result import read_result
from rbp.runs.status import LOST_AFTER, Status, read_status
from rbp.sweep.slurm.last_words import last_words
from rbp.sweep.state.jobs import GONE, PENDING, RUNNING, UNKNOWN, Jobs, is_slurm_job, outlives_pool
from rbp.sweep.state.sweepfolder import SweepFolder

# In the order of a run's life. "new" runs were never started; "stale" ones are done, but by other code.
STATES = ("new", "queued", "running", "preempted", "done", "stale", "failed", "lost", "cancelled")

BEAT = 12.0  # seconds within which a run at work gives a sign of life
_HAVE_JOBS = ("queued", "running", "preempted")


@dataclass(frozen=True)
class RunState:
    """The state of a run.

    Attributes:
        name: One of STATES.
        at_work: Whether a job is working on the run or will be, so that nothing else may start it.
        reason: Why the run is in this state, in words; may be "".
        status: The content of status.json.
        result: The content of result.json; None if the run is not done.
    """

    name: str
    at_work: bool = False
    reason: str = ""
    status: Status = field(default_factory=Status)
    result: dict[str, Any] | None = None

    @property
    def is_done(self) -> bool:
        """Whether the run has a result, by current or by other code."""
        return self.name in ("done", "stale")

    @property
    def went_wrong(self) -> bool:
        """Whether the run has failed or was lost."""
        return self.name in ("failed", "lost")


def observe(folders: Iterable[Path], compare_code: bool = False) -> list[RunState]:
    """Return the current states of runs.

    Args:
        folders: The run folders.
        compare_code: Whether a done run counts as stale if other code than the current one computed its
            result.
    """
    folders = list(folders)
    # Query jobs before reading results: if a job ends in between, its result is found.
    before = [read_status(folder) for folder in folders]
    jobs = Jobs(status.job_id for status in before if status.state in _HAVE_JOBS)
    states = [_state(folder, jobs, compare_code) for folder in folders]
    return [_with_last_words(folder, state) for folder, state in zip(folders, states, strict=True)]


def _with_last_words(folder: Path, state: RunState) -> RunState:
    """Add what the job of a run printed last, if the job ended before the run began, or began again."""
    job = state.status.job_id or ""
    if state.at_work or state.status.state not in ("queued", "preempted") or not is_slurm_job(job):
        return state
    words = "" if state.is_done else last_words(SweepFolder(folder.parent).jobs, job)
    return replace(state, reason=f"{state.reason}: {words}") if words else state


def _state(folder: Path, jobs: Jobs, compare_code: bool) -> RunState:
    status = read_status(folder)
    if result := read_result(folder):
        why = why_stale(result) if compare_code else ""
        return RunState("stale" if why else "done", reason=why, status=status, result=result)
    name = status.state
    if name in ("failed", "cancelled"):
        return RunState(name, reason=status.error or "", status=status)
    if name in _HAVE_JOBS:
        return _of_job(name, status, jobs)
    run = RunFolder(folder)
    if name == "done":
        why = f"{run.result.name} is missing, not whole or another run's"
        return RunState("lost", reason=why, status=status)
    if run.metrics.exists() or run.checkpoints.exists():
        return RunState("lost", reason=f"{run.status.name} is missing or damaged", status=status)
    return RunState("new", status=status)


def _has_ended_here(status: Status) -> bool:
    """Whether the process of a run was on this machine and is gone."""
    here = status.host == os.uname().nodename and status.pid is not None
    return here and not Path(f"/proc/{status.pid}").exists() and Path("/proc/self").exists()


def _of_job(name: str, status: Status, jobs: Jobs) -> RunState:
    """Return the state of a run without a result that has or had a job.

    Args:
        name: The state recorded in status.json: queued, running or preempted.
        status: The content of status.json.
        jobs: The states of the jobs.
    """
    job_id = status.job_id
    job, reason = jobs.state(job_id), jobs.reason(job_id)
    silent = status.age()
    if name == "running" and job is None and silent > BEAT and _has_ended_here(status):
        return RunState("lost", reason="its process is gone: killed, or out of memory", status=status)
    if name == "running" and silent <= LOST_AFTER and (job != GONE or outlives_pool(status)):
        return RunState("running", at_work=True, status=status)
    if job == PENDING:  # for the first time, or again after its node was lost
        return RunState("preempted" if name == "preempted" else "queued", True, reason, status)
    if name == "running":
        why = f"job {job_id} {reason}" if job == GONE else f"no sign of life for {silent:.0f} s"
        return RunState("lost", at_work=job in (RUNNING, UNKNOWN), reason=why, status=status)
    if name == "queued" and job == GONE:
        return RunState("lost", reason=f"job {job_id} {reason}", status=status)
    if name == "queued" and job_id is None:
        return RunState("lost", reason="was never submitted", status=status)
    # A queued run whose job cannot be queried stays queued. A preempted run is active if its job still
    # exists.
    at_work = name == "queued" or job in (RUNNING, UNKNOWN)
    return RunState(name, at_work, reason if job == UNKNOWN or not at_work else "", status)
