"""What a job does: trains the runs whose folders it is given, one after another, each as frozen there."""

import contextlib
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rbp.errors import FolderBusy, Preempted, UserError
from rbp.output import say
from rbp.runs.folder import RunFolder
from rbp.runs.result import read_result
from rbp.runs.status import read_status
from rbp.sweep.grid.cell import Cell

if TYPE_CHECKING:  # torch is loaded by a job, not where jobs are submitted
    from omegaconf import DictConfig

    from rbp.train.resume.interrupt import Interruption

# A job's exit codes beyond 0 and 1: it was asked to stop and can go on. As in sysexits.h.
TRY_AGAIN = 75
SIGNAL_SPREAD = 10.0  # seconds between the first and the last task of a job that hears of a signal


class Outcome(Enum):
    """Of a run that a job had."""

    DONE = "done"
    FAILED = "failed"
    PREEMPTED = "preempted"
    LEFT = "left alone"


@dataclass
class Worker:
    """A Slurm job: submitit calls it, on every rank of a cell that spans several tasks.

    folders: of the runs, which hold their config.yaml. submitted: seconds since 1970; what failed or was
    cancelled after that is not begun again when the job is requeued.
    """

    folders: list[str]
    submitted: float
    ranks: int = 1
    failed: list[str] = field(default_factory=list)

    def __call__(self) -> None:
        requeue = signal.getsignal(signal.SIGUSR2)  # submitit's: it counts time limits, and asks Slurm
        if self.ranks > 1:
            _join_ranks()
        interruption = listen()
        for folder in map(Path, self.folders):
            outcome = work(folder, interruption, self.submitted)
            if outcome is Outcome.PREEMPTED:
                self._stop(interruption, requeue, folder)
            if outcome is Outcome.FAILED:
                self.failed.append(folder.name)
        if self.failed:  # so that Slurm says FAILED too
            say(f"failed: {', '.join(self.failed)}", sys.stderr)
            sys.exit(1)

    def _stop(self, interruption: "Interruption", requeue: Any, folder: Path) -> None:
        """End this job; on SIGUSR2 it is queued again. On SIGTERM Slurm or a person has decided already.

        All ranks come here if one was told to stop. The first asks Slurm; an error of another would end it
        before it has.
        """
        if self.ranks > 1 and os.environ["RANK"] != "0":
            sys.exit(0)
        _await_reason(interruption)
        if interruption.reason != "SIGTERM" and callable(requeue):
            try:
                requeue(signal.SIGUSR2, None)  # exits
            except RuntimeError as error:  # submitit's UncompletedJobError
                from rbp.runs.status import mark

                mark(folder, "failed", error=f"not queued again: {error}")
                raise
        sys.exit(TRY_AGAIN)

    def checkpoint(self) -> Any:
        """What submitit queues again: the same job, which skips what is done."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def work(folder: Path, interruption: "Interruption", submitted: float) -> Outcome:
    """Train the run in a folder unless it needs no work; errors are told here and are in its status."""
    from rbp.train import train

    if reason := _needs_no_work(folder, submitted):
        say(f"{folder.name}: {reason}")
        return Outcome.LEFT
    try:
        cfg = _frozen(folder)
        say(f"{folder.name}: {'goes on' if RunFolder(folder).checkpoints.exists() else 'begins'}")
        train(cfg, folder, interruption)
        return Outcome.DONE
    except Preempted as stop:
        say(f"{folder.name}: {stop}")
        return Outcome.PREEMPTED
    except FolderBusy as error:
        say(f"left alone: {error}")
        return Outcome.LEFT
    except UserError as error:
        say(f"{folder.name}: {error}", sys.stderr)
    except Exception:
        traceback.print_exc()
    return Outcome.FAILED


def _frozen(folder: Path) -> "DictConfig":
    """The config to run. Raises ConfigError, which is noted as the run's, where it is gone or damaged."""
    from rbp.runs.config import read_frozen
    from rbp.runs.status import mark

    try:
        return Cell(read_frozen(folder)).cfg
    except UserError as error:
        with contextlib.suppress(OSError):  # the folder itself is gone
            mark(folder, "failed", error=str(error))
        raise


def _needs_no_work(folder: Path, submitted: float) -> str:
    """Why a run is not to be begun; "" if it is."""
    if read_result(folder):
        return "done already"
    status = read_status(folder)
    ended_since = status.ended is not None and status.ended > submitted
    return f"{status.state} already" if status.state in ("failed", "cancelled") and ended_since else ""


def listen() -> "Interruption":
    """Hear SIGUSR2 and SIGTERM from now on, and what was sent before, at the next step boundary."""
    from rbp.train.resume.interrupt import Interruption

    interruption = Interruption()

    def note(number: int, frame: FrameType | None) -> None:
        interruption.request(signal.Signals(number).name)

    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, note)
    # A job starts with SIGUSR2 held back, as it would kill a process that loads its libraries.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2, signal.SIGTERM})
    return interruption


def _await_reason(interruption: "Interruption") -> None:
    """A signal reaches the tasks of a job one after another; the first may have heard of it from others."""
    end = time.monotonic() + SIGNAL_SPREAD
    while interruption.reason is None and time.monotonic() < end:
        time.sleep(0.05)


def _join_ranks() -> None:
    """Let torch.distributed know rank, world and address, as submitit learns them from Slurm."""
    from submitit.helpers import TorchDistributedEnvironment

    TorchDistributedEnvironment().export()


def main(argv: list[str]) -> int:
    """`python -m rbp.sweep.launchers.worker FOLDER SUBMITTED`: one run, for the pool of this machine."""
    outcome = work(Path(argv[0]), listen(), float(argv[1]))
    codes: dict[Outcome, int] = {Outcome.FAILED: 1, Outcome.PREEMPTED: TRY_AGAIN}
    return codes.get(outcome, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
