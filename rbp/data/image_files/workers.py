"""Run work on image files in worker processes, which return results in order and never draw from the trainer.

torch's DataLoader does it. Its workers are forked, so that a million file names are not sent to them.
"""

import multiprocessing
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from rbp.cores import usable_cores
from rbp.data.processes import end_with_parent
from rbp.errors import DataError

Job = TypeVar("Job")
Result = TypeVar("Result")
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


class _Work(Dataset[Any]):
    """A map from jobs to results, in the form that DataLoader wants."""

    def __init__(self, do: Callable[[Any], Any]) -> None:
        self.do = do

    def __getitem__(self, job: Any) -> Any:
        try:
            return self.do(job)
        except DataError as error:  # as a value: DataLoader would wrap its trace into the message
            return error


def in_workers(
    do: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None, pin: bool = False
) -> Iterator[Result]:
    """Yield what `do` returns for each job, in the order of the jobs.

    Args:
        do: The work; it runs in forked processes with one thread each.
        jobs: What it is called with. They must not be tensors: torch moves these to shared memory and keeps
            a file open for each as long as it lives. The usual limit is 1,024 open files.
        workers: Number of processes; None for one per usable core, 0 for this process.
        pin: Whether tensors are put where a GPU fetches them without waiting.

    Raises:
        DataError: That of the first job that raised one, a worker was killed, or too many files are open.
    """
    n = min(usable_cores() if workers is None else workers, len(jobs))
    with _no_advice():
        loader: DataLoader[Any] = DataLoader(
            _Work(do),
            batch_size=None,
            sampler=jobs,
            num_workers=n,
            pin_memory=pin,
            multiprocessing_context="fork" if n else None,
            worker_init_fn=_begin if n else None,
            # By default it draws from the generator of dropout, and a resumed run would go on otherwise.
            generator=torch.Generator(),
        )
    results: Any = None
    try:
        results = _started(loader)
        for result in results:
            if isinstance(result, DataError):
                raise result
            yield result
    except (OSError, RuntimeError) as error:
        if why := _known(str(error)):
            raise DataError(f"{why}: {error}; try dataset.workers={max(n // 2, 1)}") from error
        raise
    finally:
        # An error's trace may keep them, and the program's end would wait: they ignore signals to stop.
        if n and results is not None:
            results._shutdown_workers()


def _known(error: str) -> str:
    """Return what an error of DataLoader's own means, "" if it is another one."""
    if "DataLoader worker (pid" in error:  # else it is an error of the work itself
        return (
            "a process that decodes images was killed, perhaps by the system for want of memory, of which "
            "fewer processes need less"
        )
    if "Too many open files" in error or "ancdata" in error:  # the latter from a socket, for the same reason
        return (
            "the processes that decode images need more open files than are allowed; allow more by ulimit "
            "-n, or take fewer processes"
        )
    return ""


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    """Start the workers, which inherit that signals to stop a run are blocked.

    Slurm sends these to all processes of a job, and the run goes on to the end of its step.
    """
    before, others = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS), multiprocessing.active_children()
    try:
        with _no_advice():
            return iter(loader)
    except BaseException:
        # Where not all could start, the first would be waited for at exit: they ignore signals to stop.
        for worker in multiprocessing.active_children():
            if worker not in others:
                worker.kill()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _no_advice() -> Iterator[None]:
    """Silence torch's warning of more processes than cores, inside the block: they were asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")
        yield


def _begin(worker: int) -> None:
    end_with_parent()
