"""Processes that outlive who started them, and are ended exactly: a pid alone may be someone else's."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def start(record: Path, command: Sequence[str], log: Path, env: Mapping[str, str], folder: Path) -> None:
    """Start command in a session of its own, working in folder, and write down which process it is."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=dict(env), cwd=folder,
            start_new_session=True,
        )  # fmt: skip
    write_record(record, process.pid)


def write_record(record: Path, pid: int) -> None:
    record.write_text(f"{pid} {_started(pid)}\n")


def running(record: Path) -> int | None:
    """The pid of the process that record names; None if it has ended, or there is no record."""
    try:
        pid, started = record.read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if _started(int(pid)) == started else None


def end(record: Path, seconds: float = 10, at_once: bool = False) -> None:
    """End the recorded process: SIGTERM, and SIGKILL if it is still there after some seconds (or at once)."""
    pid = running(record)
    if pid is not None and not at_once:
        _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while running(record) and time.monotonic() < deadline:
            time.sleep(0.02)
    if pid is not None and running(record):
        kill([pid])
    record.unlink(missing_ok=True)


def kill(pids: Sequence[int]) -> None:
    """SIGKILL, all stopped first so that none of them sees another one die, and wait until they are gone."""
    known = [(pid, _started(pid)) for pid in pids]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid, _ in known:
            _signal(pid, number)
    while any(started and _started(pid) == started for pid, started in known):
        time.sleep(0.02)


def descendants(pids: Sequence[int]) -> list[int]:
    """The given processes, their children, and so on."""
    found = list(pids)
    parents = {pid: parent(pid) for pid in all_pids()}
    for above in found:  # grows while it is read
        found += [pid for pid, p in parents.items() if p == above and pid not in found]
    return found


def all_pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def parent(pid: int) -> int:
    stat = _stat(pid)
    return int(stat[1]) if stat else 0


def environment(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty for one that has ended or is not ours."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in content.split(b"\0") if b"=" in entry)
    return {key.decode(): value.decode(errors="replace") for key, _, value in pairs}


def working_folder(pid: int) -> Path | None:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return None


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def is_pending(pid: int, number: int) -> bool:
    """Whether a signal was sent to a process that has not taken it yet."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return False
    masks = [line.split()[1] for line in lines if line.startswith("ShdPnd:")]
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if there is none, or it has ended."""
    stat = _stat(pid)
    return stat[19] if stat and stat[0] not in "ZX" else ""


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on: the second may contain spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
