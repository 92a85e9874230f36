"""Train runs in parallel on this machine: `python -m rbp.sweep.launchers.pool`, in its own session.

Each run has its own process, with its own GPU where there are enough, so that a crash affects no other run.
The pool outlives the terminal and the process that started it. It uses plain processes rather than submitit's
local executor, which starts all jobs at once, in the caller's session, and counts time limits.
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
from rbp.environment import without_ranks
from rbp.runs.status import mark, read_status, run_lock
from rbp.sweep.launchers.worker import TRY_AGAIN
from rbp.sweep.state.jobs import LOCAL
from rbp.terminal.output import say

LOOK = 0.2  # seconds between two polls of the processes


@dataclass(frozen=True)
class Slots:
    """The places for processes that run at the same time.

    Attributes:
        devices: For each slot, the CUDA_VISIBLE_DEVICES of its process; None leaves the variable unchanged.
        threads: CPU threads per process; None leaves the choice to torch.
    """

    devices: tuple[str | None, ...]
    threads: int | None


@dataclass
class ProcessPool:
    """A pool of processes that trains the runs in a list of folders.

    Attributes:
        folders: The run folders, in the order in which to start them.
        submitted: When the runs were submitted, in seconds since 1970.
        slots: The places for processes.
        working: Slot -> run folder and process of the run in it.
        stopping: Whether a signal has asked the pool to stop.
        asked: Ids of the processes that were asked to stop.
    """

    folders: list[str]
    submitted: float
    slots: Slots
    working: dict[int, tuple[str, subprocess.Popen[bytes]]] = field(default_factory=dict)
    stopping: bool = False
    asked: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Run until every run has ended.

        On SIGTERM or SIGUSR2, send SIGTERM to the running processes, start no further run, and return when
        they have ended.
        """
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
        """Send SIGTERM to every running process, once.

        The signal handler does not do this itself: it may run before a process just started is in `working`.
        """
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
        """Record a failure on behalf of a run whose process was killed or never began."""
        code = process.returncode
        if code in (0, TRY_AGAIN) or (code == -signal.SIGTERM and process.pid in self.asked):
            return  # killed by SIGTERM before its handler was installed: the run has not begun
        try:
            _mark_failed(Path(folder), code)
        except OSError as error:  # the folder is gone or the disk is full: the other runs continue
            say(f"{folder}: {_why(code)}; that cannot be written: {error.strerror}", sys.stderr)


def _mark_failed(folder: Path, code: int) -> None:
    with run_lock(folder) as free:
        if free and read_status(folder).state in ("queued", "running"):
            mark(folder, "failed", error=_why(code))


def _why(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        memory = "; perhaps memory ran out" if -code == signal.SIGKILL else ""
        return f"its process was killed by {name}{memory}"
    return f"its process ended with exit code {code}; see the sweep's .sweep/jobs"


def own_id() -> str:
    """Return the job id that all runs of this pool share."""
    return f"{LOCAL}{os.getpid()}@{os.uname().nodename}"


def share_out(settings: LocalSettings, gpus: Sequence[str], cores: int, on_cpu: bool = False) -> Slots:
    """Distribute GPUs and CPU threads over the processes.

    The cores are shared out where runs compute on them; with a GPU, torch's own choice does little.

    Args:
        settings: The number of processes and threads, where the user has set them.
        gpus: The usable GPUs, in the notation of CUDA_VISIBLE_DEVICES.
        cores: The number of usable CPU cores.
        on_cpu: Whether some runs compute on the CPU although there are GPUs.
    """
    n = settings.processes or len(gpus) or max(1, cores // 2)
    devices = tuple(gpus[i % len(gpus)] if gpus else None for i in range(n))
    threads = settings.threads or (None if gpus and not on_cpu else max(1, cores // n))
    return Slots(devices, threads)


def start_pool(folders: Sequence[Path], slots: Slots, log: Path, code: list[Path], submitted: float) -> str:
    """Start a pool that outlives this process.

    Args:
        folders: The run folders.
        slots: The places for processes.
        log: The file to which the output of the pool and its runs is appended.
        code: The folders with copies of the code, for the start of the import path.
        submitted: When the runs were submitted, in seconds since 1970.

    Returns:
        The job id of the pool.
    """
    task = {"folders": [str(f) for f in folders], "submitted": submitted, "slots": vars(slots)}
    path = os.pathsep.join([*map(str, code), *filter(None, [os.environ.get("PYTHONPATH")])])
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "rbp.sweep.launchers.pool"],
            env=without_ranks(os.environ) | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C and closing the terminal do not stop the pool
        )
    assert process.stdin is not None
    process.stdin.write(json.dumps(task).encode())
    process.stdin.close()
    return f"{LOCAL}{process.pid}@{os.uname().nodename}"


def main() -> None:
    """Read a task from stdin and run it."""
    task = json.load(sys.stdin)
    slots = Slots(tuple(task["slots"]["devices"]), task["slots"]["threads"])
    ProcessPool(task["folders"], task["submitted"], slots).run()


if __name__ == "__main__":
    main()
