"""Running each check in a process of its own, so that a hang or crash does not affect the others."""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch

from rbp.check.finding import Finding, wrong

CONTEXT = multiprocessing.get_context("forkserver")  # the server loads torch once, and uses no GPU itself
GRACE = 2.0  # seconds that a check may take to exit by itself before it is killed


@dataclasses.dataclass(frozen=True)
class Check:
    """A check to run.

    Attributes:
        name: Name shown to the user.
        run: Function that performs the check on a device.
        limit: Time limit in seconds.
    """

    name: str
    run: Callable[[torch.device], Finding]
    limit: float = 30.0


def run(check: Check, device: torch.device) -> Finding:
    """Run a check in a process of its own.

    Returns:
        Its finding; `slow` if it has not ended at its limit, `wrong` if it crashed.
    """
    CONTEXT.set_forkserver_preload(["rbp.check.engine"])
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_answer, args=(check, device, theirs))
    start = time.monotonic()
    process.start()
    theirs.close()
    found = _await(ours, check.limit)
    seconds = time.monotonic() - start
    _end(process)
    if found is None:
        found = _why_none(process, check.limit, seconds)
    return dataclasses.replace(found, name=check.name, seconds=round(seconds, 2))


def _answer(check: Check, device: torch.device, answer: Connection) -> None:
    """Run the check and send its finding, in the process of the check.

    Only one thread is used: the networks are small, and other programs may use the cores.
    """
    os.setsid()  # its own process group, so that its child processes can be killed with it
    torch.set_num_threads(1)
    try:
        answer.send(check.run(device))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        answer.send(wrong(f"{type(error).__name__}: {reason}", "report it: a check must not fail so"))


def _await(answer: Connection, limit: float) -> Finding | None:
    """Return the finding, or None if the process crashed or has not answered within `limit` seconds."""
    try:
        return answer.recv() if answer.poll(limit) else None
    except EOFError:  # the process ended without sending a finding
        return None


def _end(process: multiprocessing.process.BaseProcess) -> None:
    """Let a check exit by itself, then kill it and all processes that it started."""
    process.join(GRACE)
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError):  # the group does not exist yet, or no longer
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _why_none(process: multiprocessing.process.BaseProcess, limit: float, seconds: float) -> Finding:
    """Return the finding for a check that sent none."""
    if seconds >= limit:
        return Finding("slow", f"not done after {limit:.0f} s", "try it again where nothing else runs")
    return wrong(f"its process ended with exit code {process.exitcode}", "is there memory enough?")
