"""status.json: what state a run is in, since when and why. No other module reads or writes that file."""

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rbp.config.versions import FORMAT
from rbp.files import is_number, last_lines, read_json, read_line, write_json
from rbp.locks import locked
from rbp.runs.folder import RunFolder
from rbp.runs.result import read_result

STATES = ("queued", "running", "done", "failed", "preempted", "cancelled", "lost")
LOST_AFTER = 60.0  # seconds without a heartbeat
_OWN_KEYS = ("format", "state", "heartbeat", "started", "ended", "host", "pid", "job_id", "error")


@dataclass(frozen=True)
class Status:
    """What a run last said of itself, or what was written for it.

    Attributes:
        state: one of STATES; "" if there is no status.json, or a damaged one; else as it was read.
        heartbeat: the last sign of life, in seconds since 1970; 0 if there was none.
        started, ended: of the process that last trained it, in seconds since 1970.
        host, pid: of that process.
        job_id: of the job that has the run, or had it.
        error: why it is not done.
        progress: how far it is: epoch, epochs, test_acc, step, steps, progress in [0, 1], seconds_left.
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
        """Seconds since the last sign of life; now: seconds since 1970, the present if None."""
        return (time.time() if now is None else now) - self.heartbeat

    @property
    def numbers(self) -> dict[str, float]:
        """The progress that is known."""
        return {key: value for key, value in self.progress.items() if is_number(value)}


def read_status(folder: Path) -> Status:
    """The status as it was written; whatever is missing or damaged is as if unknown."""
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
    """Write a status; at any instant the file is the old or the new one, whole."""
    own = {key: value for key, value in vars(status).items() if key != "progress"}
    write_json(RunFolder(folder).status, {"format": FORMAT, **own, **status.progress})


def unless_busy(folder: Path) -> AbstractContextManager[bool]:
    """Hold a run's lock inside a block, to write on its behalf; yields False if a process works in it."""
    return locked(RunFolder(folder).lock)


def mark(folder: Path, state: str, job_id: str | None = None, error: str | None = None) -> None:
    """Write a state on behalf of a run; what the run itself said of its progress stays.

    Args:
        folder: the run's folder.
        state: one of STATES.
        job_id: of the job that is to run it; None keeps the one it had, except for a run that is queued.
        error: why it is not done.
    """
    before, now, queued = read_status(folder), time.time(), state == "queued"
    job = job_id or (None if queued else before.job_id)
    ended = None if queued else now
    write_status(folder, replace(before, state=state, heartbeat=now, ended=ended, job_id=job, error=error))


def current_status(folder: Path, now: float | None = None) -> Status:
    """The status, corrected by the result and by the heartbeat's age.

    A run is done if and only if there is a whole result, and lost if it is running and has shown no heartbeat
    for LOST_AFTER seconds. A folder without a status is queued. `progress["epoch"]` is the last whole epoch,
    0 before the first.

    Args:
        folder: the run's folder.
        now: seconds since 1970; the present if None.
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
    """The epoch of the last whole line, from the file's end alone."""
    for size in (1 << 16, None):  # in case one line is longer than the part that was read
        for line in reversed(last_lines(metrics, size)):
            values = read_line(line)
            if isinstance(values, dict) and isinstance(epoch := values.get("epoch"), int):
                return epoch
    return 0


def _number(value: Any) -> float | None:
    return value if is_number(value) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
