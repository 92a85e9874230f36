"""Costs: bytes counted by hand, and no figure inherited from another run of the process."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rbp.train import train
from rbp.train.epoch import train_epoch
from rbp.train.resume.history import History, PartialEpoch
from rbp.train.resume.interrupt import Interruption
from rbp.train.resume.step_boundary import StepBoundary
from rbp.train.state import restore, set_up, state_of
from rbp.train.telemetry.costs import TIMED_STEPS, WARMUP_STEPS, CostMeter, count_kept_bytes, resident_bytes
from rbp.train.telemetry.record import Record
from tests.support.training import short

CPU = torch.device("cpu")


def test_bytes_kept_for_the_backward_pass_are_those_of_the_distinct_tensors() -> None:
    net = nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10))
    x = torch.rand(8, 100)
    kept: list[int] = []
    with count_kept_bytes(net, kept):
        net(x).sum().backward()
    # The input of each linear layer; ReLU keeps its output, which is the second's input. No weights.
    assert sum(kept) == 4 * (8 * 100 + 8 * 50)


def test_resident_bytes_are_parameters_gradients_and_optimizer_state() -> None:
    net = nn.Linear(10, 10)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    assert resident_bytes(net, optimizer) == 110 * 4
    net(torch.rand(2, 10)).sum().backward()
    optimizer.step()
    assert resident_bytes(net, optimizer) == 3 * 110 * 4


def test_steps_are_timed_after_the_warmup_and_only_with_full_batches() -> None:
    net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    costs = CostMeter()
    for n in range(WARMUP_STEPS + TIMED_STEPS + 20):
        with costs.measure(CPU, net, optimizer, full=n % 2 == 0):
            pass
    full = (WARMUP_STEPS + TIMED_STEPS + 20 + 1) // 2
    assert len(costs.warmup_seconds) == WARMUP_STEPS and len(costs.step_seconds) == full - WARMUP_STEPS
    costs.step_seconds = [0.5] * TIMED_STEPS
    with costs.measure(CPU, net, optimizer, full=True):
        pass
    assert costs.step_median() == 0.5 and len(costs.step_seconds) == TIMED_STEPS


class FakeCuda:
    """Stands for torch.cuda's count of allocated bytes: `peak` is the most since it was last reset."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.peak = 0
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: self.peak)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", self.reset)

    def reset(self, device: torch.device) -> None:
        self.peak = 0

    def allocate(self, n: int) -> None:
        self.peak = max(self.peak, n)


def test_on_a_gpu_only_what_steps_allocate_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, costs = FakeCuda(monkeypatch), CostMeter()
    net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def step(n: int, full: bool = True) -> None:
        with costs.measure(torch.device("cuda:0"), net, optimizer, full):
            cuda.allocate(n)

    cuda.allocate(10**9)  # an earlier cell
    step(700)
    assert costs.peak_memory() == 700
    for n in [800] * (WARMUP_STEPS - 1):  # algorithms are tried
        step(n)
    assert costs.peak_memory() == 800
    step(100)
    step(300)
    cuda.allocate(10**8)  # evaluation
    step(200)
    step(500, full=False)
    assert costs.peak_memory() == 300


def test_every_process_has_a_whole_warmup(tmp_path: Path) -> None:
    """Three times three steps, each epoch by a process of its own: none of them is a steady one."""
    cfg, run = short(tmp_path)
    history = History()
    state: dict[str, Any] = {}
    for epoch in range(3):
        job = set_up(cfg)
        history = restore(job, state, Path("last.pt")) if state else history
        history.machines, history.code = [job.machine], [job.code]
        record = Record(run, cfg)
        train_epoch(job, history, StepBoundary(job, history, run, record, Interruption()), lambda *args: None)
        history = replace(history, epochs=epoch + 1, part=PartialEpoch())
        state = state_of(job, history)
    assert len(history.costs.warmup_seconds) == 9 and history.costs.step_seconds == []


def test_a_run_too_short_for_steady_steps_tells_its_warmup() -> None:
    assert CostMeter().step_median() is None
    assert CostMeter(warmup_seconds=[3.0, 1.0]).step_median() == 2.0
    assert CostMeter(warmup_seconds=[3.0, 1.0], step_seconds=[0.25]).step_median() == 0.25


@pytest.mark.slow
@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
def test_memory_does_not_depend_on_what_ran_before_in_the_process(tmp_path: Path, grad_mode: str) -> None:
    small = short(tmp_path / "a", f"grad_mode={grad_mode}", "trainer.epochs=1")
    large = short(tmp_path, "T=16", "grad_mode=bptt", "trainer.epochs=1", "trainer.limit_batches=1")
    alone = train(small[0], small[1].path)["peak_memory_bytes"]
    assert train(large[0], large[1].path)["peak_memory_bytes"] > 2 * alone
    again = short(tmp_path / "b", f"grad_mode={grad_mode}", "trainer.epochs=1")
    assert train(again[0], again[1].path)["peak_memory_bytes"] == alone


def test_memory_grows_with_the_time_steps_in_bptt_alone(tmp_path: Path) -> None:
    def memory(mode: str, steps: int) -> int:
        cfg, run = short(
            tmp_path, f"grad_mode={mode}", f"T={steps}", "trainer.epochs=1", "trainer.limit_batches=1"
        )
        return train(cfg, run.path)["peak_memory_bytes"]

    assert memory("rate", 8) == pytest.approx(memory("rate", 2), rel=0.02)
    assert memory("bptt", 8) > 2.5 * memory("bptt", 2)
