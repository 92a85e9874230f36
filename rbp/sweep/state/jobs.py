"""Query the states of jobs, all in one call; a job's id shows whether Slurm or this machine runs it."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rbp.runs.status import Status

PENDING, RUNNING, GONE = "pending", "running", "gone"
UNKNOWN = "unknown"  # Slurm is installed here but does not answer at the moment
LOCAL = "local-"  # prefix of a local job's id: local-PID@HOST, with the process id of the pool
_ENDED = {
    "COMPLETED": "has ended",
    "FAILED": "ended with an error",
    "CANCELLED": "was cancelled",
    "TIMEOUT": "reached its time limit",
    "OUT_OF_MEMORY": "was killed: out of memory",
    "DEADLINE": "reached its deadline",
    "BOOT_FAIL": "was lost: its node did not start",
}


class Jobs:
    """The states of jobs at the moment of construction.

    Args:
        ids: Job ids; None and "" are ignored.
    """

    def __init__(self, ids: Iterable[str | None]) -> None:
        known = {i for i in ids if i}
        self._states = _local({i for i in known if i.startswith(LOCAL)})
        self._states |= _slurm({i for i in known if is_slurm_job(i)})

    def state(self, job_id: str | None) -> str | None:
        """Return PENDING, RUNNING, GONE or UNKNOWN.

        None means that this machine cannot query the job: there is no id, the job is local to another host,
        or Slurm is not installed here.
        """
        return self._states.get(job_id or "", (None, ""))[0]

    def reason(self, job_id: str | None) -> str:
        """Return in words why a job is gone, waits or is unknown; "" if no reason is known."""
        return self._states.get(job_id or "", (None, ""))[1]


def is_slurm_job(job_id: str) -> bool:
    """Whether an id is that of a Slurm job, single (123) or part of an array (123_4)."""
    return re.fullmatch(r"\d+(_\d+)?", job_id) is not None


def _local(ids: set[str]) -> dict[str, tuple[str, str]]:
    here = os.uname().nodename
    states = {}
    for job_id in ids:
        pid, _, host = job_id.removeprefix(LOCAL).partition("@")
        if host == here:
            states[job_id] = (RUNNING, "") if _is_pool(pid) else (GONE, "its processes are gone")
    return states


def _is_pool(pid: str) -> bool:
    return pid.isdigit() and _is_ours(_command_line(pid), b".pool")


def _is_ours(command_line: bytes, module: bytes) -> bool:
    """Whether a command line runs this module of rbp.sweep, whose path differs between versions of rbp."""
    return b"rbp.sweep." in command_line and module in command_line


def outlives_pool(status: Status) -> bool:
    """Whether the process of a local run still works on this machine, even if its pool was killed."""
    mine = (status.job_id or "").startswith(LOCAL) and status.host == os.uname().nodename
    return mine and _is_ours(_command_line(status.pid), b".worker")


def _command_line(pid: Any) -> bytes:
    """Return the command line of a process on this machine, or b"" if there is none.

    PIDs are recycled: the command line shows whether the process is still one of rbp's.
    """
    with contextlib.suppress(OSError, ValueError):
        return Path(f"/proc/{int(pid)}/cmdline").read_bytes()
    return b""


def _slurm(ids: set[str]) -> dict[str, tuple[str, str]]:
    """Query all jobs with a single call of squeue, whichever user they belong to.

    A job that Slurm no longer remembers counts as gone.
    """
    if not ids or not shutil.which("squeue"):
        return {}
    arrays = ",".join(sorted({job_id.partition("_")[0] for job_id in ids}))
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r", f"--jobs={arrays}"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=20)
    except (subprocess.SubprocessError, OSError):
        return dict.fromkeys(ids, (UNKNOWN, "Slurm does not answer"))
    if done.returncode and "Invalid job id" not in done.stderr:  # the controller is down, but jobs still run
        return dict.fromkeys(ids, (UNKNOWN, "Slurm does not answer"))
    states = dict.fromkeys(ids, (GONE, "is no longer in Slurm's queue"))
    for line in done.stdout.splitlines():
        job_id, _, rest = line.partition("|")
        if job_id in states:
            state, _, reason = rest.partition("|")
            states[job_id] = _as_state(state, reason)
    return states


def _as_state(state: str, reason: str) -> tuple[str, str]:
    if state in _ENDED:
        return GONE, _ENDED[state]
    if state in ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED"):
        return RUNNING, ""
    # This includes NODE_FAIL, PREEMPTED and REQUEUED: Slurm starts these jobs again.
    return PENDING, "" if reason == "None" else reason
