"""What training costs, measured so that two runs can be compared: time of a step, and memory."""

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rbp.train.device import synchronize

WARMUP_STEPS = 3  # these choose algorithms and fill caches
TIMED_STEPS = 100  # then each step is waited for; later ones run on without


@dataclass
class CostMeter:
    """Of one run; kept in its checkpoints, never shared with another run of the same process.

    warmup_seconds, step_seconds: synchronised times of whole training steps (forward, backward, update) on
    full batches, the first few of each process apart.
    memory: bytes. CUDA: the most that was allocated during a timed step after the warm-up (warmup_memory:
    during it). CPU: bytes kept for the backward pass, plus parameters, gradients and optimizer state.
    """

    warmup_seconds: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    memory: int | None = None
    warmup_memory: int | None = None
    warm_steps: int = 0  # of the warm-up of this process

    def step_median(self) -> float | None:
        """Seconds of a step; of the warm-up's where a run is too short for others."""
        times = self.step_seconds or self.warmup_seconds
        return statistics.median(times) if times else None

    def peak_memory(self) -> int | None:
        """Bytes; the warm-up's where a run is too short for others."""
        return self.warmup_memory if self.memory is None else self.memory

    @contextlib.contextmanager
    def measure(
        self, device: torch.device, net: nn.Module, optimizer: torch.optim.Optimizer, full: bool
    ) -> Iterator[None]:
        """Around a training step; `full`: it has a full batch, so that it counts."""
        if not full or len(self.step_seconds) >= TIMED_STEPS:
            yield
            return
        # On the CPU bytes are counted in one step of the warm-up, as counting takes time.
        warm = self.warm_steps >= WARMUP_STEPS
        counting = device.type == "cpu" and not warm and self.memory is None
        kept: list[int] = []
        with count_kept_bytes(net, kept) if counting else contextlib.nullcontext():
            synchronize(device)
            if device.type == "cuda":  # so that neither evaluation counts nor what ran before
                torch.cuda.reset_peak_memory_stats(device)
            start = time.perf_counter()
            yield
            synchronize(device)
            (self.step_seconds if warm else self.warmup_seconds).append(time.perf_counter() - start)
        if counting:
            self.memory = sum(kept) + resident_bytes(net, optimizer)
        elif device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device)
            if warm:
                self.memory = max(self.memory or 0, peak)
            else:
                self.warmup_memory = max(self.warmup_memory or 0, peak)
        self.warm_steps += not warm


@contextlib.contextmanager
def count_kept_bytes(net: nn.Module, sizes: list[int]) -> Iterator[None]:
    """Add to sizes the bytes of each storage that autograd keeps for backward, but for the network's own."""
    seen = {t.untyped_storage().data_ptr() for t in [*net.parameters(), *net.buffers()]}
    held: list[Tensor] = []  # while counting, so that no freed storage's address is met again

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
    """Parameters, their gradients and the optimizer's state."""
    parameters = list(net.parameters())
    gradients = [p.grad for p in parameters if p.grad is not None]
    state = [v for values in optimizer.state.values() for v in values.values() if isinstance(v, Tensor)]
    return sum(t.numel() * t.element_size() for t in [*parameters, *gradients, *state])
