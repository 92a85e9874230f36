"""Measuring how long an action takes: with CUDA events on a GPU, with the clock on a CPU."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from rbp.train.device import synchronize

# Warm-up runs by device type. A GPU's clock takes a while to rise.
WARMUP = {"cpu": 2, "cuda": 10}


def timed(action: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Run an action once and time it.

    Returns:
        Its seconds on the device, and the seconds of this process's CPU time until it is done. On a GPU, the
        CPU time includes waiting for the device, which is a busy loop.
    """
    synchronize(device)
    cpu = time.process_time()
    wall = _by_events(action, device) if device.type == "cuda" else _by_clock(action)
    return wall, time.process_time() - cpu


def _by_clock(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _by_events(action: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds from the first to the last work that the action queues on the current stream."""
    with torch.cuda.device(device):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        action()
        end.record()
        end.synchronize()
    return start.elapsed_time(end) / 1e3


def median_seconds(action: Callable[[], Any], device: torch.device, rounds: int = 5) -> float:
    """Return the median seconds of an action over several rounds, after a warm-up."""
    for _ in range(WARMUP[device.type]):
        action()
    return statistics.median(timed(action, device)[0] for _ in range(rounds))
