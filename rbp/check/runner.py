"""Each check in a process of its own: one that hangs or crashes takes no other with it."""

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

CONTEXT = multiprocessing.get_context("forkserver")  # loads torch once, and never touches a GPU itself
GRACE = 2.0  # seconds to end after being told to


@dataclasses.dataclass(frozen=True)
class Check:
    """limit: seconds; run: gets the device."""

    name: str
    run: Callable[[torch.device], Finding]
    limit: float = 30.0


def run(check: Check, device: torch.device) -> Finding:
    """What a check finds; `slow` where it has not ended at its limit, `wrong` where it crashed."""
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
    """In the process of a check. One thread: the networks are small, and other programs may use the cores."""
    os.setsid()  # so that what it starts can be ended with it
    torch.set_num_threads(1)
    try:
        answer.send(check.run(device))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        answer.send(wrong(f"{type(error).__name__}: {reason}", "report it: a check must not fail so"))


def _await(answer: Connection, limit: float) -> Finding | None:
    try:
        return answer.recv() if answer.poll(limit) else None
    except EOFError:  # it ended without a word
        return None


def _end(process: multiprocessing.process.BaseProcess) -> None:
    """Let a check end by itself, then end it and whatever it has started."""
    process.join(GRACE)
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError):  # it had no time to make a group, or nothing of it is left
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _why_none(process: multiprocessing.process.BaseProcess, limit: float, seconds: float) -> Finding:
    if seconds >= limit:
        return Finding("slow", f"not done after {limit:.0f} s", "try it again where nothing else runs")
    return wrong(f"its process ended with exit code {process.exitcode}", "is there memory enough?")
