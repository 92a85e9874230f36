"""The costs of training: time per step and memory, measured so that two runs can be compared."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rbp.train.device import synchronize

WARMUP_STEPS = 3  # steps in which algorithms are chosen and caches fill
TIMED_STEPS = 100  # steps that are timed, which needs a device synchronisation; later ones are not


@dataclass
class CostMeter:
    """Measured costs of one run, saved in its checkpoints.

    A meter belongs to one run, even if a process trains several.

    Times are synchronised wall times of whole training steps (forward, backward, update) on full batches. On
    CUDA, memory is the peak of allocated bytes during a timed step. On a CPU, it is the bytes kept for the
    backward pass (of the largest part, if a batch is computed in parts), plus parameters, gradients and
    optimizer state.

    Attributes:
        warmup_seconds: Times of the warm-up steps, the first few of each process.
        step_seconds: Times of the steps after the warm-up.
        memory: Bytes; on CUDA, of steps after the warm-up.
        warmup_memory: Bytes during the warm-up (CUDA only).
        warm_steps: Warm-up steps that this process has done.
    """

    warmup_seconds: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    memory: int | None = None
    warmup_memory: int | None = None
    warm_steps: int = 0

    def step_median(self) -> float | None:
        """Return the median seconds of a step; of warm-up steps if the run is too short for others."""
        times = self.step_seconds or self.warmup_seconds
        return statistics.median(times) if times else None

    def peak_memory(self) -> int | None:
        """Return the memory in bytes; that of the warm-up if the run is too short for other steps."""
        return self.warmup_memory if self.memory is None else self.memory

    @contextlib.contextmanager
    def measure(
        self, device: torch.device, net: nn.Module, optimizer: torch.optim.Optimizer, full: bool
    ) -> Iterator[Callable[[], AbstractContextManager[None]]]:
        """Measure the training step inside the block.

        Args:
            device: Where the step runs.
            net: The network that is trained.
            optimizer: Its optimizer.
            full: Whether the step has a full batch; others are not measured.

        Yields:
            What makes the context in which a part's forward and backward pass must run.
        """
        if not full or len(self.step_seconds) >= TIMED_STEPS:
            yield contextlib.nullcontext
            return
        # On a CPU, bytes are counted in a single warm-up step, since counting takes time.
        warm = self.warm_steps >= WARMUP_STEPS
        counting = device.type == "cpu" and not warm and self.memory is None
        of_parts: list[int] = []
        synchronize(device)
        if device.type == "cuda":  # so that evaluation and earlier work do not count
            torch.cuda.reset_peak_memory_stats(device)
        start = time.perf_counter()
        yield (lambda: kept_bytes_added(net, of_parts)) if counting else contextlib.nullcontext
        synchronize(device)
        (self.step_seconds if warm else self.warmup_seconds).append(time.perf_counter() - start)
        if counting:
            self.memory = max(of_parts, default=0) + resident_bytes(net, optimizer)
        elif device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device)
            if warm:
                self.memory = max(self.memory or 0, peak)
            else:
                self.warmup_memory = max(self.warmup_memory or 0, peak)
        self.warm_steps += not warm


@contextlib.contextmanager
def kept_bytes_added(net: nn.Module, totals: list[int]) -> Iterator[None]:
    """Append to `totals` the bytes that autograd saves for the backward pass inside the block."""
    sizes: list[int] = []
    with count_kept_bytes(net, sizes):
        yield
    totals.append(sum(sizes))


@contextlib.contextmanager
def count_kept_bytes(net: nn.Module, sizes: list[int]) -> Iterator[None]:
    """Append to `sizes` the bytes of each storage that autograd saves for the backward pass inside the block.

    Parameters and buffers of `net` are not counted, and each storage is counted once.
    """
    seen = {t.untyped_storage().data_ptr() for t in [*net.parameters(), *net.buffers()]}
    held: list[Tensor] = []  # kept alive while counting, so that no address is reused

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            held.append(tensor.detach())
            sizes.append(storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield


def resident_bytes(net: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of the parameters, their gradients and the optimizer's state."""
    parameters = list(net.parameters())
    gradients = [p.grad for p in parameters if p.grad is not None]
    state = [v for values in optimizer.state.values() for v in values.values() if isinstance(v, Tensor)]
    return sum(t.numel() * t.element_size() for t in [*parameters, *gradients, *state])
