"""Several processes that train one cell together: which of them this is, and what they tell one another.

Rank and meeting point come from the environment that torchrun and submitit's TorchDistributedEnvironment
leave: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT.
"""

import contextlib
import functools
import gc
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from rbp.errors import ConfigError, Preempted, TrainingError

Value = TypeVar("Value")
PATIENCE = timedelta(minutes=10)  # until all have come; importing torch takes long on a network's disk
LINGER = timedelta(seconds=15)  # for the others to read why the first rank failed
_NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")
_meetings = itertools.count()  # of this process, so that a cell's ranks do not meet another cell's


@dataclass(frozen=True)
class Ranks:
    """This process among `world` ones; the first alone writes. With a world of one, nothing is exchanged.

    group: of the CPU, for what they tell one another besides gradients and batch statistics.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    group: Any = field(default=None, compare=False, repr=False)
    board: Any = field(default=None, compare=False, repr=False)  # a store; holds why a rank failed

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This rank's part of a batch, axis 0: parts differ by one at most."""
        return batch.tensor_split(self.world)[self.rank] if self.world > 1 else batch

    def agree(self, due: int) -> int:
        """The greatest wish of all ranks."""
        if self.world == 1:
            return due
        greatest = torch.tensor(due)
        dist.all_reduce(greatest, dist.ReduceOp.MAX, group=self.group)
        return int(greatest)

    def add(self, figures: list[list[float]]) -> list[list[float]]:
        """Sums over all ranks, in their order: all_reduce's order depends on how many figures there are."""
        if self.world == 1:
            return figures
        own = torch.tensor(figures, dtype=torch.float64)
        everyone = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(everyone, own, group=self.group)
        return sum(everyone[1:], start=everyone[0]).tolist()

    def gather(self, value: Value) -> list[Value]:
        """Everybody's value, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self.group)
        return values

    def from_first(self, make: Callable[[], Value]) -> Value:
        """What the first rank makes."""
        if self.world == 1:
            return make()
        shared: list[Any] = [make() if self.first else None]
        dist.broadcast_object_list(shared, src=0, group=self.group, device=torch.device("cpu"))
        return shared[0]


ALONE = Ranks()


def ranks_here() -> Ranks:
    """Who this process is by its environment. Raises ConfigError where that is not whole."""
    env = os.environ
    try:
        world = int(env.get("WORLD_SIZE", 1))
        if world == 1:
            return ALONE
        if missing := [name for name in _NEEDED if name not in env]:
            raise ConfigError(
                f"WORLD_SIZE={world} is set, but not {', '.join(missing)}: unset it, or set all"
            )
        here = Ranks(int(env["RANK"]), world, int(env.get("LOCAL_RANK", 0)))
    except ValueError as error:
        raise ConfigError(f"RANK, WORLD_SIZE and LOCAL_RANK must be whole numbers: {error}") from error
    if not 0 <= here.rank < world:
        raise ConfigError(f"RANK={here.rank}: must be from 0 to below WORLD_SIZE={world}")
    return here


@contextlib.contextmanager
def joined(ranks: Ranks, device: torch.device) -> Iterator[Ranks]:
    """While inside, the ranks can talk. One that fails leaves the group, so that the others fail in turn."""
    if ranks.world == 1:
        yield ranks
        return
    _prepare_to_leave()
    try:
        board = dist.PrefixStore(f"cell {next(_meetings)}", _meeting_point(ranks))
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=board, rank=ranks.rank, world_size=ranks.world)
        group: Any = dist.group.WORLD if backend == "gloo" else dist.new_group(backend="gloo")
        dist.barrier(group)
    except RuntimeError as error:
        raise TrainingError(
            f"{ranks.world} tasks were to train together, but did not meet: {error}"
        ) from error
    failed = False
    try:
        yield replace(ranks, group=group, board=board)
    except Preempted:
        raise
    except BaseException as error:
        failed = True
        with contextlib.suppress(RuntimeError):  # the board is gone with the first rank's process
            reason = f"rank {ranks.rank} of {ranks.world} failed: {type(error).__name__}: {error}"
            board.compare_set("failed", "", reason)  # who came first is the cause
            board.set(f"heard {ranks.rank}", "")
        raise
    finally:
        dist.destroy_process_group()
        if failed and ranks.first:  # it keeps the board, perhaps until its process ends
            with contextlib.suppress(RuntimeError):
                board.wait([f"heard {rank}" for rank in range(ranks.world)], LINGER)


def _prepare_to_leave() -> None:
    """See that a rank that fails and goes on to its next cell closes the connections of the one before.

    They stay open as long as anything refers to their group, and ranks that wait for this one would wait for
    ever. A cell that failed may be in a cycle of references; and torch.distributed.nn, which the first
    optimizer imports, keeps the group that there is at its import as its functions' default.
    """
    import torch.distributed.nn  # noqa: F401

    gc.collect()


@functools.cache
def _meeting_point(ranks: Ranks) -> dist.Store:
    """Kept as long as this process lives: its cells meet at one port."""
    return next(iter(rendezvous("env://", ranks.rank, ranks.world, timeout=PATIENCE)))[0]


@contextlib.contextmanager
def lost_rank_explained(ranks: Ranks) -> Iterator[None]:
    """While inside, an exchange that breaks off raises TrainingError; all ranks leave together."""
    try:
        yield
        if ranks.world > 1:
            dist.barrier(ranks.group)
    except RuntimeError as error:
        if ranks.world == 1 or not _is_of_the_wire(error):
            raise
        raise TrainingError(_why_gone(ranks)) from error


_WIRE = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")


def _is_of_the_wire(error: BaseException) -> bool:
    """Whether an error is that of an exchange between ranks; gloo raises plain RuntimeErrors."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WIRE)


def _why_gone(ranks: Ranks) -> str:
    reason = f"one of the {ranks.world} ranks is gone without a word (killed? out of memory? its node lost?)"
    with contextlib.suppress(RuntimeError):
        if ranks.board.check(["failed"]):
            reason = ranks.board.get("failed").decode()
    return (
        f"{reason}; every task writes a log of its own, which rbp logs RUN shows. "
        "Earlier checkpoints are kept"
    )


def refuse_uneven(batch_size: int, ranks: Ranks) -> None:
    """Raise ConfigError if a batch cannot be shared out evenly."""
    if batch_size % ranks.world:
        raise ConfigError(
            f"trainer.batch_size={batch_size}: is the whole batch of a cell, and must be a multiple of its "
            f"{ranks.world} tasks"
        )
