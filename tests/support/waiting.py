"""Waiting for what another process or thread does: one loop, with a time limit and a message."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T],
    seconds: float = 120,
    *,
    pause: float = 0.02,
    alive: Callable[[], bool] = lambda: True,
    explain: Callable[[], str] = lambda: "",
) -> T:
    """Ask until condition gives something true, and return that.

    Fails after so many seconds, or once nobody is alive who could make it true; the message ends with what
    explain returns.
    """
    deadline = time.monotonic() + seconds
    while True:
        ended = not alive()  # asked first: what was done at the very end counts
        if found := condition():
            return found
        if ended or time.monotonic() > deadline:
            reason = "it ended before" if ended else f"not within {seconds:g} s"
            raise AssertionError(f"waited in vain: {reason}. {explain()}".rstrip())
        time.sleep(pause)
