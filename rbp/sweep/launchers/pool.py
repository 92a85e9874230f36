"""Runs side by side on this machine: `python -m rbp.sweep.launchers.pool`, in a session of its own.

A process per run, each with a device of its own, so that one that crashes takes no other with it. The pool
does not end with the terminal, nor with who started it. Plain processes rather than submitit's local
executor: that starts all jobs at once, in the caller's session, and counts time limits.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rbp.config.launchers import LocalSettings
from rbp.output import say
from rbp.runs.status import mark, read_status, unless_busy
from rbp.sweep.launchers.worker import TRY_AGAIN
from rbp.sweep.state.jobs import LOCAL

LOOK = 0.2  # seconds between two looks at the processes


@dataclass(frozen=True)
class Slots:
    """devices: each process's CUDA_VISIBLE_DEVICES; None: as it is. threads: of each on the CPU."""

    devices: tuple[str | None, ...]
    threads: int | None


@dataclass
class ProcessPool:
    """Works off run folders."""

    folders: list[str]
    submitted: float
    slots: Slots
    working: dict[int, tuple[str, subprocess.Popen[bytes]]] = field(default_factory=dict)
    stopping: bool = False
    asked: set[int] = field(default_factory=set)  # processes that were asked to stop

    def run(self) -> None:
        """Until every run has ended, or a signal says stop: SIGTERM is handed on, and nothing more begins."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGUSR2, self._stop)
        waiting = list(self.folders)
        while (waiting and not self.stopping) or self.working:
            if self.stopping:
                self._hand_on()
            for slot in range(len(self.slots.devices)):
                if slot in self.working and self.working[slot][1].poll() is not None:
                    self._ended(*self.working.pop(slot))
                if slot not in self.working and waiting and not self.stopping:
                    self.working[slot] = self._start(waiting.pop(0), slot)
            time.sleep(LOOK)

    def _stop(self, number: int, frame: object) -> None:
        self.stopping = True

    def _hand_on(self) -> None:
        """Ask every process to stop, once; not in the handler, which may come before a start is noted."""
        for _, process in self.working.values():
            if process.pid not in self.asked:
                process.send_signal(signal.SIGTERM)
                self.asked.add(process.pid)

    def _start(self, folder: str, slot: int) -> tuple[str, subprocess.Popen[bytes]]:
        environment = os.environ | {"RBP_JOB_ID": own_id()}
        if (device := self.slots.devices[slot]) is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device
        if self.slots.threads is not None:
            environment.setdefault("OMP_NUM_THREADS", str(self.slots.threads))
        command = [sys.executable, "-m", "rbp.sweep.launchers.worker", folder, str(self.submitted)]
        return folder, subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)

    def _ended(self, folder: str, process: subprocess.Popen[bytes]) -> None:
        """A run that was killed, or never began, could not say so itself."""
        code = process.returncode
        if code in (0, TRY_AGAIN) or (code == -signal.SIGTERM and process.pid in self.asked):
            return  # asked to stop before it could listen: it has not begun
        try:
            _mark_failed(Path(folder), code)
        except OSError as error:  # its folder is gone, or the disk full: the others go on
            say(f"{folder}: {_why(code)}; that cannot be written: {error.strerror}", sys.stderr)


def _mark_failed(folder: Path, code: int) -> None:
    with unless_busy(folder) as free:
        if free and read_status(folder).state in ("queued", "running"):
            mark(folder, "failed", error=_why(code))


def _why(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        memory = "; perhaps memory ran out" if -code == signal.SIGKILL else ""
        return f"its process was killed by {name}{memory}"
    return f"its process ended with exit code {code}; see the sweep's .sweep/jobs"


def own_id() -> str:
    """The job id of all runs of this pool."""
    return f"{LOCAL}{os.getpid()}@{os.uname().nodename}"


def share_out(settings: LocalSettings, gpus: Sequence[str], cores: int) -> Slots:
    """Devices and threads for the processes. gpus: as CUDA_VISIBLE_DEVICES names them."""
    n = settings.processes or len(gpus) or max(1, cores // 2)
    devices = tuple(gpus[i % len(gpus)] if gpus else None for i in range(n))
    threads = settings.threads or (None if gpus else max(1, cores // n))
    return Slots(devices, threads)


def start_pool(folders: Sequence[Path], slots: Slots, log: Path, code: Path, submitted: float) -> str:
    """Start a pool that outlives this process; returns its job id."""
    task = {"folders": [str(f) for f in folders], "submitted": submitted, "slots": vars(slots)}
    path = os.pathsep.join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])])
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "rbp.sweep.launchers.pool"],
            env=os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C and a closed terminal leave it alone
        )
    assert process.stdin is not None
    process.stdin.write(json.dumps(task).encode())
    process.stdin.close()
    return f"{LOCAL}{process.pid}@{os.uname().nodename}"


def main() -> None:
    """Read the task from stdin and work it off."""
    task = json.load(sys.stdin)
    slots = Slots(tuple(task["slots"]["devices"]), task["slots"]["threads"])
    ProcessPool(task["folders"], task["submitted"], slots).run()


if __name__ == "__main__":
    main()
