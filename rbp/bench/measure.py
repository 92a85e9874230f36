"""Time and bytes of one training step (forward and backward, no optimizer), the contestants turn by turn."""

import statistics
import time
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn

from rbp.bench.contestants import Forward, contestant
from rbp.train.costs import count_kept_bytes
from rbp.train.device import autocast, synchronize

WARMUP_ROUNDS = 2


@dataclass
class Timing:
    """One contestant at one T: seconds of every round, bytes kept for backward, peak bytes (CUDA only)."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    kept_bytes: int = 0
    peak_bytes: int | None = None


@dataclass
class _Step:
    net: nn.Module
    forward: Forward
    cfg: DictConfig
    x: Tensor
    y: Tensor

    def __call__(self) -> None:
        self.net.zero_grad(set_to_none=True)
        with autocast(self.cfg, self.x.device):
            logits = self.forward(self.x, self.cfg.T)
        F.cross_entropy(logits.float(), self.y).backward()


def measure(
    cfg: DictConfig, names: list[str], batch: int, device: torch.device, rounds: int, rate_options: dict
) -> dict[str, Timing]:
    """Timings of every contestant on a random batch of the data set's shape; rate_options: of rbp.forward.

    In each round every contestant takes one step, so that a change of the machine's speed meets all alike.
    """
    random = torch.Generator().manual_seed(0)
    shape = (batch, cfg.dataset.channels, cfg.dataset.size, cfg.dataset.size)
    x = torch.randn(shape, generator=random).to(device)
    y = torch.randint(0, cfg.dataset.classes, (batch,), generator=random).to(device)
    steps = {name: _Step(*contestant(name, cfg, x, rate_options), cfg, x, y) for name in names}
    timings = {name: Timing() for name in names}
    for name, step in steps.items():
        _count_bytes(step, timings[name])
    for number in range(WARMUP_ROUNDS + rounds):
        for name, step in steps.items():
            wall, cpu = _time(step, device)
            if number >= WARMUP_ROUNDS:
                timings[name].wall.append(wall)
                timings[name].cpu.append(cpu)
    return timings


def _time(step: _Step, device: torch.device) -> tuple[float, float]:
    synchronize(device)
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    synchronize(device)
    return time.perf_counter() - wall, time.process_time() - cpu


def _count_bytes(step: _Step, timing: Timing) -> None:
    step()  # compiles, chooses algorithms, allocates gradients
    sizes: list[int] = []
    with count_kept_bytes(step.net, sizes):
        step()
    timing.kept_bytes = sum(sizes)
    if step.x.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(step.x.device)
        step()
        timing.peak_bytes = torch.cuda.max_memory_allocated(step.x.device)


def ratio(of: list[float], to: list[float]) -> float:
    """The median over rounds of each round's ratio."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))
