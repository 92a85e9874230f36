"""A step's seconds: by the clock on a CPU, between two events on a GPU."""

import contextlib

import pytest
import torch

from rbp.bench import timing


def test_a_gpus_time_is_that_between_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    order = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            order.append("record")

        def synchronize(self) -> None:
            order.append("wait")

        def elapsed_time(self, end: "Event") -> float:
            return 12.5  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: order.append("synchronize"))
    wall, cpu = timing.timed(lambda: order.append("step"), torch.device("cuda"))
    assert wall == 0.0125 and cpu >= 0
    assert order == ["synchronize", "record", "step", "record", "wait"]


def test_a_warm_up_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([9.0, 1.0, 2.0, 3.0])
    steps = []
    monkeypatch.setattr(timing, "_by_clock", lambda action: (action(), next(seconds))[1])
    assert timing.median_seconds(lambda: steps.append(0), torch.device("cpu"), rounds=3) == 2.0
    assert len(steps) == timing.WARMUP["cpu"] + 3
