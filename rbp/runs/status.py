"""Read and write status.json: the state of a run, its times, progress and error.

No other module reads or writes that file.
"""

import math
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rbp.config.versions import FORMAT
from rbp.files import is_number, last_lines, read_json, read_line, write_json
from rbp.locks import locked
from rbp.runs.folder import RunFolder
from rbp.runs.metrics import is_of_step
from rbp.runs.result import read_result

STATES = ("queued", "running", "done", "failed", "preempted", "cancelled", "lost")
LOST_AFTER = 60.0  # seconds without a heartbeat after which a running run counts as lost
_OWN_KEYS = ("format", "state", "heartbeat", "started", "ended", "host", "pid", "job_id", "error")


@dataclass(frozen=True)
class Status:
    """The last recorded status of a run, written by the run itself or by another process on its behalf.

    Attributes:
        state: One of STATES; "" if status.json is missing or damaged. A file may hold an unknown state, which
            is kept as it is.
        heartbeat: Time of the last heartbeat, in seconds since 1970; 0 if there was none.
        started, ended: When the process that last trained the run started and ended, in seconds since 1970.
        host, pid: Host name and process id of that process.
        job_id: Id of the job that the run belongs to, or last belonged to.
        error: Why the run is not done.
        progress: How far the run is: epoch, epochs, test_acc, step, steps, progress in [0, 1], seconds_left.
    """

    state: str = ""
    heartbeat: float = 0.0
    started: float | None = None
    ended: float | None = None
    host: str | None = None
    pid: int | None = None
    job_id: str | None = None
    error: str | None = None
    progress: dict[str, Any] = field(default_factory=dict)

    def age(self, now: float | None = None) -> float:
        """Return the seconds since the last heartbeat.

        Args:
            now: The time to compare with, in seconds since 1970; None takes the current time.
        """
        return (time.time() if now is None else now) - self.heartbeat

    @property
    def numbers(self) -> dict[str, float]:
        """The entries of `progress` that are numbers."""
        return {key: value for key, value in self.progress.items() if is_number(value)}


def read_status(folder: Path) -> Status:
    """Return the status as recorded; missing or damaged values become the defaults of `Status`."""
    content = read_json(RunFolder(folder).status)
    values: dict[str, Any] = content if isinstance(content, dict) else {}
    state, error, pid = values.get("state", ""), values.get("error"), values.get("pid")
    return Status(
        state=state if isinstance(state, str) else repr(state),
        heartbeat=_number(values.get("heartbeat")) or 0.0,
        started=_number(values.get("started")),
        ended=_number(values.get("ended")),
        host=_text(values.get("host")),
        pid=pid if type(pid) is int else None,
        job_id=_text(values.get("job_id")),
        error=None if error is None else str(error),
        progress={key: value for key, value in values.items() if key not in _OWN_KEYS},
    )


def write_status(folder: Path, status: Status) -> None:
    """Write a status atomically: a reader sees the complete old file or the complete new one."""
    own = {key: value for key, value in vars(status).items() if key != "progress"}
    write_json(RunFolder(folder).status, {"format": FORMAT, **own, **status.progress})


def run_lock(folder: Path) -> AbstractContextManager[bool]:
    """Return a context manager that holds a run's lock, so that the caller may write on the run's behalf.

    It yields False if another process holds the lock, that is, works in the run's folder.
    """
    return locked(RunFolder(folder).lock)


def mark(folder: Path, state: str, job_id: str | None = None, error: str | None = None) -> None:
    """Write a state on behalf of a run, keeping the progress that the run recorded.

    Args:
        folder: The run's folder.
        state: One of STATES.
        job_id: Id of the job that is to train the run. None keeps the recorded one, or clears it if `state`
            is "queued".
        error: Why the run is not done.
    """
    before, now, queued = read_status(folder), time.time(), state == "queued"
    job = job_id or (None if queued else before.job_id)
    ended = None if queued else now
    write_status(folder, replace(before, state=state, heartbeat=now, ended=ended, job_id=job, error=error))


def current_status(folder: Path, now: float | None = None) -> Status:
    """Return the recorded status, corrected by the result and by the age of the heartbeat.

    A run is done if and only if its result is complete. It is lost if it is recorded as running but has had
    no heartbeat for LOST_AFTER seconds. A folder without a status counts as queued. `progress["epoch"]` is
    the last complete epoch, 0 before the first.

    Args:
        folder: The run's folder.
        now: The current time in seconds since 1970; None reads the clock.
    """
    run, status = RunFolder(folder), read_status(folder)
    if (result := read_result(folder)) is not None:
        return _corrected(status, "done", None, result["epochs"])
    state, error, age = status.state or "queued", status.error, status.age(now)
    if state == "done":
        state, error = "failed", f"{run.result} is missing or not whole"
    elif state not in STATES:
        state, error = "failed", f"{run.status}: state {state!r} is none of {', '.join(STATES)}"
    elif state == "running" and age > LOST_AFTER:
        state, error = "lost", f"no sign of life for {age:.0f} s: killed, or its machine is gone"
    return _corrected(status, state, error, _last_epoch(run.metrics))


def _corrected(status: Status, state: str, error: str | None, epoch: int) -> Status:
    return replace(status, state=state, error=error, progress=status.progress | {"epoch": epoch})


def _last_epoch(metrics: Path) -> int:
    """Return the number of complete epochs by the last complete line of metrics.jsonl, 0 if there is none."""
    # Read the end of the file first (64 KiB), and all of it only if that holds no complete line.
    for size in (1 << 16, None):
        for line in reversed(last_lines(metrics, size)):
            values = read_line(line)
            if isinstance(values, dict) and is_number(epoch := values.get("epoch")):
                return math.ceil(epoch) - 1 if is_of_step(values) else int(epoch)
    return 0


def _number(value: Any) -> float | None:
    return value if is_number(value) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
