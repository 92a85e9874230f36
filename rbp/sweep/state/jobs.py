"""What has become of jobs, asked in one call: a job's id tells whether Slurm or this machine runs it."""

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
UNKNOWN = "unknown"  # Slurm is here and gives no answer now
LOCAL = "local-"  # then the process id of the pool that runs a local sweep, and its host
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
    """The states of jobs at one moment. An id that nobody here can tell of is in none of them."""

    def __init__(self, ids: Iterable[str | None]) -> None:
        known = {i for i in ids if i}
        self._states = _local({i for i in known if i.startswith(LOCAL)})
        self._states |= _slurm({i for i in known if is_slurms(i)})

    def state(self, job_id: str | None) -> str | None:
        """PENDING, RUNNING, GONE, UNKNOWN, or None where that cannot be said."""
        return self._states.get(job_id or "", (None, ""))[0]

    def reason(self, job_id: str | None) -> str:
        """Why a job is gone or waits, in words."""
        return self._states.get(job_id or "", (None, ""))[1]


def is_slurms(job_id: str) -> bool:
    """Whether this is a job of Slurm's, alone (123) or of an array (123_4)."""
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
    """Whether a process runs this module of rbp.sweep, wherever the version that started it has it."""
    return b"rbp.sweep." in command_line and module in command_line


def outlives_pool(status: Status) -> bool:
    """Whether the process of a run works on here, though the pool that began it was killed."""
    mine = (status.job_id or "").startswith(LOCAL) and status.host == os.uname().nodename
    return mine and _is_ours(_command_line(status.pid), b".worker")


def _command_line(pid: Any) -> bytes:
    """Of a process of this machine: by it ours are told from others, to whom numbers are given again."""
    with contextlib.suppress(OSError, ValueError):
        return Path(f"/proc/{int(pid)}/cmdline").read_bytes()
    return b""


def _slurm(ids: set[str]) -> dict[str, tuple[str, str]]:
    """One question for all jobs, whoever's they are, as long as Slurm remembers them."""
    if not ids or not shutil.which("squeue"):
        return {}
    arrays = ",".join(sorted({job_id.partition("_")[0] for job_id in ids}))
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r", f"--jobs={arrays}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (subprocess.SubprocessError, OSError):
        return dict.fromkeys(ids, (UNKNOWN, "Slurm does not answer"))
    if done.returncode and "Invalid job id" not in done.stderr:  # the controller is away: the jobs go on
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
    # Also NODE_FAIL, PREEMPTED, REQUEUED: Slurm starts these again.
    return PENDING, "" if reason == "None" else reason
