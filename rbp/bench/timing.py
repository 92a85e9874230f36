"""How long something takes: by CUDA's events on a GPU, by the clock on a CPU."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from rbp.train.device import synchronize

# A GPU's clock takes a while to rise.
WARMUP = {"cpu": 2, "cuda": 10}


def timed(action: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Seconds that an action takes on the device, and seconds of this process's CPU time until it is done
    (on a GPU the wait for it, which spins, is among them)."""
    synchronize(device)
    cpu = time.process_time()
    wall = _by_events(action, device) if device.type == "cuda" else _by_clock(action)
    return wall, time.process_time() - cpu


def _by_clock(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _by_events(action: Callable[[], Any], device: torch.device) -> float:
    """From the first to the last of what the action gives to the current stream."""
    with torch.cuda.device(device):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        action()
        end.record()
        end.synchronize()
    return start.elapsed_time(end) / 1e3


def usual(action: Callable[[], Any], device: torch.device, rounds: int = 5) -> float:
    """Median seconds of an action, after a warm-up."""
    for _ in range(WARMUP[device.type]):
        action()
    return statistics.median(timed(action, device)[0] for _ in range(rounds))
