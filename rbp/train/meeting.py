"""Where the ranks of a run meet: a key-value store that the first rank hosts, or torchrun.

torch's own rendezvous waits ten minutes without a word, and Ctrl-C does not reach it.
"""

import functools
import os
import sys
import time
from datetime import timedelta

import torch.distributed as dist

from rbp.errors import TrainingError
from rbp.terminal.output import say

PATIENCE = 600.0  # seconds to wait for the other ranks; importing torch from a network disk is slow
SAY_AFTER = 10.0  # seconds after which a waiting rank says for whom it waits
_TRY = timedelta(seconds=2)  # of one attempt to connect, during which Ctrl-C has to wait
_LOOK = 0.1


@functools.cache
def connect(rank: int, world: int) -> dist.Store:
    """Return the store, and tell in it that this rank is here.

    The first rank hosts the store, unless torchrun does. The others wait for it. It is kept for the life of
    the process, since all its runs use one port.

    Raises:
        TrainingError: The first rank did not come within PATIENCE seconds.
    """
    waiting = _Waiting(world)
    while True:
        try:
            store = dist.TCPStore(
                os.environ["MASTER_ADDR"],
                int(os.environ["MASTER_PORT"]),
                world,
                rank == 0 and not hosted_by_torchrun(),
                _TRY,
                wait_for_workers=False,
                multi_tenant=True,
            )
            break
        except RuntimeError as error:
            if rank == 0 and not hosted_by_torchrun():  # the port is taken
                raise TrainingError(f"MASTER_PORT={os.environ['MASTER_PORT']}: {error}") from error
            waiting.for_ranks([0])
    store.set_timeout(timedelta(seconds=PATIENCE))
    store.set(f"here {rank}", "")
    return store


@functools.cache
def meet(rank: int, world: int) -> dist.Store:
    """Return the store once all ranks are there.

    Raises:
        TrainingError: Some ranks did not come within PATIENCE seconds.
    """
    store, waiting = connect(rank, world), _Waiting(world)
    while missing := [other for other in range(world) if not store.check([f"here {other}"])]:
        waiting.for_ranks(missing)
    return store


def hosted_by_torchrun() -> bool:
    """Whether torchrun hosts the store at MASTER_ADDR and MASTER_PORT."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


class _Waiting:
    """The patience of a rank that waits for others; says once for whom it waits."""

    def __init__(self, world: int) -> None:
        self.world, self.start, self.said = world, time.monotonic(), False

    def for_ranks(self, missing: list[int]) -> None:
        """Wait for a moment.

        Raises:
            TrainingError: This has lasted for PATIENCE seconds.
        """
        some = ", ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if missing[5:] else "")
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        lasted = time.monotonic() - self.start
        if lasted > PATIENCE:
            raise TrainingError(
                f"{self.world} tasks were to train together, but did not meet at {place} within "
                f"{PATIENCE:.0f} s: rank {some} is missing"
            )
        if lasted > SAY_AFTER and not self.said:
            self.said = True
            say(
                f"waiting for rank {some} of WORLD_SIZE={self.world} at {place}. If nobody starts it, stop "
                "this with Ctrl-C and unset RANK WORLD_SIZE MASTER_ADDR MASTER_PORT, which another tool has "
                "left behind",
                sys.stderr,
            )
        time.sleep(_LOOK)
