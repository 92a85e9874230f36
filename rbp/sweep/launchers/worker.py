"""Train runs inside a job, one after another, each with the frozen config in its folder."""

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

from rbp.environment import forget_ranks
from rbp.errors import FolderBusy, Preempted, UserError
from rbp.garbage import spare_old_objects
from rbp.runs.folder import RunFolder
from rbp.runs.result import read_result
from rbp.runs.status import read_status
from rbp.sweep.grid.cell import Cell
from rbp.terminal.output import degrade_output, say

if TYPE_CHECKING:  # these import torch, which only the job needs, not the process that submits it
    from omegaconf import DictConfig

    from rbp.train.resume.interrupt import Interruption

# Exit code of a job that was asked to stop and can continue later: EX_TEMPFAIL in sysexits.h.
TRY_AGAIN = 75
SIGNAL_SPREAD = 10.0  # most seconds between a signal's arrival at the first and the last task of a job


class Outcome(Enum):
    """The outcome of a run within a job."""

    DONE = "done"
    FAILED = "failed"
    PREEMPTED = "preempted"
    LEFT = "left alone"


@dataclass
class Worker:
    """The function that a Slurm job executes; submitit calls it in every task of the job.

    Attributes:
        folders: The run folders, each with a config.yaml.
        submitted: When the job was submitted, in seconds since 1970. Runs that failed or were cancelled after
            that are not started again when the job is requeued.
        ranks: The number of tasks that train a run together.
        failed: The names of the runs that have failed so far.
    """

    folders: list[str]
    submitted: float
    ranks: int = 1
    failed: list[str] = field(default_factory=list)

    def __call__(self) -> None:
        degrade_output()
        spare_old_objects()
        # Keep submitit's handler, which counts time limits and asks Slurm to requeue; `listen` replaces it.
        requeue = signal.getsignal(signal.SIGUSR2)
        if self.ranks > 1:
            _join_ranks()
        else:
            forget_ranks()
        interruption = listen()
        for folder in map(Path, self.folders):
            outcome = train_folder(folder, interruption, self.submitted)
            if outcome is Outcome.PREEMPTED:
                self._stop(interruption, requeue, folder)
            if outcome is Outcome.FAILED:
                self.failed.append(folder.name)
        if self.failed:  # exit with an error, so that Slurm also reports FAILED
            say(f"failed: {', '.join(self.failed)}", sys.stderr)
            sys.exit(1)

    def _stop(self, interruption: "Interruption", requeue: Any, folder: Path) -> None:
        """End this job after it was asked to stop; on SIGUSR2, have it requeued first.

        SIGTERM means that Slurm or a person has already decided what becomes of the job, so it is not
        requeued. All ranks get here if one was asked to stop. Only rank 0 asks Slurm, and the others exit
        with 0, because an error exit of one would end the whole job before rank 0 has asked.
        """
        if self.ranks > 1 and os.environ["RANK"] != "0":
            sys.exit(0)
        _await_reason(interruption)
        if interruption.reason != "SIGTERM" and callable(requeue):
            # Slurm may signal again, and its signals reach scontrol, too, by which submitit requeues.
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
            try:
                requeue(signal.SIGUSR2, None)  # exits
            except RuntimeError as error:  # submitit's UncompletedJobError
                from rbp.runs.status import mark

                mark(folder, "failed", error=f"not queued again: {error}")
                raise
        sys.exit(TRY_AGAIN)

    def checkpoint(self) -> Any:
        """Return what submitit requeues: the same job, which skips the runs that are done."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def train_folder(folder: Path, interruption: "Interruption", submitted: float) -> Outcome:
    """Train the run in a folder unless there is nothing to do.

    Errors are printed and recorded in the run's status, not raised.

    Args:
        folder: The run's folder.
        interruption: Stops the training when a signal has arrived.
        submitted: When the job was submitted, in seconds since 1970; see `Worker`.
    """
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
    """Return the config in a run's folder.

    Raise ConfigError, and record it as the run's error, if the config is missing or damaged.
    """
    from rbp.runs.config import read_frozen
    from rbp.runs.status import mark

    try:
        return Cell(read_frozen(folder)).cfg
    except UserError as error:
        with contextlib.suppress(OSError):  # the folder itself may be gone
            mark(folder, "failed", error=str(error))
        raise


def _needs_no_work(folder: Path, submitted: float) -> str:
    """Return why a run is not to be started, or "" if it is."""
    if read_result(folder):
        return "done already"
    status = read_status(folder)
    ended_since = status.ended is not None and status.ended > submitted
    return f"{status.state} already" if status.state in ("failed", "cancelled") and ended_since else ""


def listen() -> "Interruption":
    """Install handlers for SIGUSR2 and SIGTERM that request a stop at the next step boundary.

    A signal that arrived earlier and was blocked is delivered now.

    Returns:
        The interruption that the handlers set and that training checks.
    """
    from rbp.train.resume.interrupt import Interruption

    interruption = Interruption()

    def note(number: int, frame: FrameType | None) -> None:
        interruption.request(signal.Signals(number).name)

    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, note)
    # A job starts with SIGUSR2 blocked, since the signal would kill a process that is still importing.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2, signal.SIGTERM})
    return interruption


def _await_reason(interruption: "Interruption") -> None:
    """Wait until the signal itself has reached this task, for at most SIGNAL_SPREAD seconds.

    Slurm signals the tasks of a job one after another, so another rank may have stopped this one before.
    """
    end = time.monotonic() + SIGNAL_SPREAD
    while interruption.reason is None and time.monotonic() < end:
        time.sleep(0.05)


def _join_ranks() -> None:
    """Export rank, world size and address for torch.distributed, which submitit reads from Slurm."""
    from submitit.helpers import TorchDistributedEnvironment

    TorchDistributedEnvironment().export()


def main(argv: list[str]) -> int:
    """Train one run for the local pool: `python -m rbp.sweep.launchers.worker FOLDER SUBMITTED`.

    Returns:
        The exit code: 0 if the run is done or was left alone, 1 if it failed, TRY_AGAIN if it was asked to
        stop.
    """
    degrade_output()
    spare_old_objects()
    outcome = train_folder(Path(argv[0]), listen(), float(argv[1]))
    codes: dict[Outcome, int] = {Outcome.FAILED: 1, Outcome.PREEMPTED: TRY_AGAIN}
    return codes.get(outcome, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
