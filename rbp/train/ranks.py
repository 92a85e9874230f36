"""Communication between the processes (ranks) that train one network together.

Rank, world size and rendezvous address come from the environment variables that torchrun and submitit's
TorchDistributedEnvironment set: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT.
"""

import contextlib
import gc
import itertools
import os
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from rbp.errors import ConfigError, Preempted, TrainingError
from rbp.train.meeting import meet

Value = TypeVar("Value")
LINGER = timedelta(seconds=15)  # time for the other ranks to read why the first rank failed
_NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")
_meetings = itertools.count()  # numbers this process's runs, so that ranks of different runs do not meet


@dataclass(frozen=True)
class Ranks:
    """This process's place among the `world` processes of a run. With a world of one, nothing is exchanged.

    Only the first rank writes to the run folder.

    Attributes:
        rank: Number of this process, from 0.
        world: Number of processes.
        local_rank: Number of this process on its node, from 0.
        group: CPU process group for everything but gradients and batch statistics.
        board: Key-value store shared by the ranks; holds the reason why a rank failed.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    group: Any = field(default=None, compare=False, repr=False)
    board: Any = field(default=None, compare=False, repr=False)

    @property
    def first(self) -> bool:
        """Whether this is the first rank."""
        return self.rank == 0

    def share(self, batch: Tensor, parts: int = 1) -> Tensor:
        """Return this rank's share of a batch along axis 0; the sizes of the shares differ by one at most.

        Args:
            batch: The whole batch.
            parts: Parts in which the batch is computed, one after the other: the rank's share is that of each
                part, so that a part over all ranks holds the images that it would hold on one.
        """
        if self.world == 1:
            return batch
        return torch.cat([part.tensor_split(self.world)[self.rank] for part in batch.tensor_split(parts)])

    def agree(self, due: int) -> int:
        """Return the greatest `due` of all ranks."""
        if self.world == 1:
            return due
        greatest = torch.tensor(due)
        dist.all_reduce(greatest, dist.ReduceOp.MAX, group=self.group)
        return int(greatest)

    def add(self, figures: list[list[float]]) -> list[list[float]]:
        """Return elementwise sums over all ranks.

        They are added in rank order. all_reduce would not do: its order depends on how many numbers are sent.
        """
        if self.world == 1:
            return figures
        own = torch.tensor(figures, dtype=torch.float64)
        everyone = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(everyone, own, group=self.group)
        return sum(everyone[1:], start=everyone[0]).tolist()

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, ordered by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self.group)
        return values

    def from_first(self, make: Callable[[], Value]) -> Value:
        """Return, on every rank, the value that `make` returns on the first rank."""
        if self.world == 1:
            return make()
        shared: list[Any] = [make() if self.first else None]
        dist.broadcast_object_list(shared, src=0, group=self.group, device=torch.device("cpu"))
        return shared[0]


ALONE = Ranks()


def ranks_from_environment() -> Ranks:
    """Read this process's rank from the environment.

    Raises:
        ConfigError: The variables are incomplete or wrong.
    """
    env = os.environ
    try:
        world = int(env.get("WORLD_SIZE", 1))
        if world == 1:
            return ALONE
        if world < 1:
            raise ValueError
        if missing := [name for name in _NEEDED if name not in env]:
            raise ConfigError(
                f"WORLD_SIZE={world} is set, but not {', '.join(missing)}: unset it, or set all"
            )
        if not 0 < int(env["MASTER_PORT"]) < 2**16:
            raise ValueError
        here = Ranks(int(env["RANK"]), world, int(env.get("LOCAL_RANK", 0)))
    except ValueError as error:
        names = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT")
        told = " ".join(f"{name}={env[name]}" for name in names if name in env)
        raise ConfigError(
            f"{told}: WORLD_SIZE must be 1 or more, RANK and LOCAL_RANK whole numbers, MASTER_PORT from 1 to "
            "65535; unset them if another tool has left them behind"
        ) from error
    if not 0 <= here.rank < world:
        raise ConfigError(f"RANK={here.rank}: must be from 0 to below WORLD_SIZE={world}")
    return here


@contextlib.contextmanager
def process_group(ranks: Ranks, device: torch.device) -> Iterator[Ranks]:
    """Connect the ranks inside the block.

    A rank that fails leaves the process group, so that the exchanges of the other ranks fail as well.

    Args:
        ranks: This process's place, as returned by `ranks_from_environment`.
        device: The type of the device chooses the backend: NCCL for CUDA, gloo otherwise.

    Yields:
        The ranks with `group` and `board` set, unchanged for a world of one.

    Raises:
        TrainingError: The ranks did not all connect.
    """
    if ranks.world == 1:
        yield ranks
        return
    _prepare_to_leave()
    try:
        board = dist.PrefixStore(f"cell {next(_meetings)}", meet(ranks.rank, ranks.world))
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=board, rank=ranks.rank, world_size=ranks.world)
        group: Any = dist.group.WORLD if backend == "gloo" else dist.new_group(backend="gloo")
        dist.barrier(group)
    except RuntimeError as error:
        raise TrainingError(
            f"{ranks.world} tasks were to train together, but did not meet: {error}"
        ) from error
    connected = replace(ranks, group=group, board=board)
    del group
    failure: BaseException | None = None
    try:
        yield connected
    except Preempted:
        raise
    except BaseException as error:
        failure = error
        with contextlib.suppress(RuntimeError):  # the store ends with the first rank's process
            if not _is_of_the_wire(error.__cause__):  # of a lost rank, all hear by themselves
                reason = f"rank {ranks.rank} of {ranks.world} failed: {type(error).__name__}: {error}"
                board.compare_set("failed", "", reason)  # only the first failure is kept: it is the cause
            board.set(f"heard {ranks.rank}", "")
        raise
    finally:
        _disconnect(connected, failure)
        if failure is not None and ranks.first:  # it hosts the store, perhaps until its process ends
            with contextlib.suppress(RuntimeError):
                if board.check(["failed"]):
                    board.wait([f"heard {rank}" for rank in range(ranks.world)], LINGER)


def _disconnect(ranks: Ranks, failure: BaseException | None) -> None:
    """Leave the process group and close its connections now, so that the other ranks notice.

    They stay open as long as anything refers to the group. The frames that a failure came through do, by the
    ranks and by the network, whose gradients are exchanged.
    """
    dist.destroy_process_group()
    object.__setattr__(ranks, "group", None)
    while failure is not None:
        traceback.clear_frames(failure.__traceback__)
        failure = failure.__cause__ or failure.__context__
    gc.collect()


def _prepare_to_leave() -> None:
    """Make sure that a failed rank's connections close before it starts its next run.

    Connections stay open as long as anything refers to their process group, and other ranks would wait for
    this one for ever. Two things may keep such a reference: a reference cycle of the failed run, and
    torch.distributed.nn, which the first optimizer imports and whose functions keep the group that exists at
    import time as their default argument. So import it now, while there is no group, and collect garbage.
    """
    import torch.distributed.nn  # noqa: F401

    gc.collect()


@contextlib.contextmanager
def lost_rank_explained(ranks: Ranks) -> Iterator[None]:
    """Raise TrainingError if an exchange between ranks breaks off inside the block.

    A barrier at the end of the block makes all ranks leave it together.
    """
    try:
        yield
        if ranks.world > 1:
            dist.barrier(ranks.group)
    except RuntimeError as error:
        if ranks.world == 1 or not _is_of_the_wire(error):
            raise
        raise TrainingError(_why_gone(ranks)) from error


_WIRE = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")


def _is_of_the_wire(error: BaseException | None) -> bool:
    """Whether an error comes from an exchange between ranks; gloo raises plain RuntimeErrors."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WIRE)


def _why_gone(ranks: Ranks) -> str:
    """Return the message for a lost rank: the recorded reason of the first failure, if there is one."""
    reason = f"one of the {ranks.world} ranks is gone without a word (killed? out of memory? its node lost?)"
    with contextlib.suppress(RuntimeError):
        if ranks.board.check(["failed"]):
            reason = ranks.board.get("failed").decode()
    return (
        f"{reason}; every task writes a log of its own, which rbp logs RUN shows. "
        "Earlier checkpoints are kept"
    )


def refuse_uneven(batch_size: int, ranks: Ranks, accumulate: int = 1) -> None:
    """Raise ConfigError if the batch size is not a multiple of the number of ranks times that of parts."""
    if batch_size % (ranks.world * accumulate):
        parts = f" times trainer.accumulate={accumulate}" if accumulate > 1 else ""
        raise ConfigError(
            f"trainer.batch_size={batch_size}: is the whole batch of a cell, and must be a multiple of its "
            f"{ranks.world} tasks{parts}"
        )
