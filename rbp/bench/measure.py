"""Measuring time, bytes and kernels of one training step, with the contestants taking turns."""

import dataclasses
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from rbp.bench.contestants import BPTT, NAMES, RATE_COMPILED, RATE_GRAPH, contestant, eager, runs_compiled
from rbp.bench.limits import Work, count
from rbp.bench.profiling import launches, profiled
from rbp.bench.spikingjelly_nets import count_packed_bytes, neurons_used
from rbp.bench.step import CONTIGUOUS, NotCaptured, Step, capture, choose_layout
from rbp.bench.timing import WARMUP, median_seconds, timed
from rbp.gradients.online import ONLINE
from rbp.rate.neurons import compiled
from rbp.train.telemetry.costs import count_kept_bytes, kept_bytes_added


@dataclass
class Timing:
    """The measurements of one contestant at one T.

    Attributes:
        wall: Seconds of each round.
        cpu: Seconds of this process's CPU time in each round.
        kept_bytes: Bytes kept for the backward pass.
        peak_bytes: Peak of allocated bytes (GPU only).
        layout: Memory layout, a key of rbp.bench.step.LAYOUTS.
        work: Operations and bytes moved; None if they could not be counted.
        kernel_launches: Number of kernels run (GPU only).
        kernels: Rows of rbp.bench.profiling.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    kept_bytes: int = 0
    peak_bytes: int | None = None
    layout: str = CONTIGUOUS
    work: Work | None = None
    kernel_launches: int | None = None
    kernels: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Bench:
    """The settings of one table, and what is found out while measuring it.

    Attributes:
        names: Names of the contestants.
        batch: Images per batch.
        device: Where to measure.
        rounds: Counted steps of each contestant.
        rate_options: Keyword arguments of `rbp.forward` for rate contestants.
        until: Time (`time.monotonic`) after which no new measurement is begun.
        profile: Whether to profile every contestant also on a CPU.
        layouts: Memory layout by contestant, chosen at its first measurement.
        notes: What was left out, and why.
        neurons: Kernels that SpikingJelly's neurons ran in.
        cut: Whether time ran out before all contestants were begun.
    """

    names: tuple[str, ...]
    batch: int
    device: torch.device
    rounds: int
    rate_options: dict[str, Any]
    until: float = float("inf")
    profile: bool = False
    layouts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    neurons: str | None = None
    cut: bool = False

    def late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.until

    def note(self, line: str) -> None:
        """Add a line to the notes, unless it is there already."""
        if line not in self.notes:
            self.notes.append(line)


def measure(cfg: DictConfig, bench: Bench) -> dict[str, Timing]:
    """Measure every contestant on a random batch of the data set's shape.

    In each round every contestant takes one step, so that changes in the machine's speed affect all alike. A
    contestant that runs out of memory, or cannot be compiled or captured, is left out with a note. Those not
    begun when the time is up are left out too.

    Returns:
        The timings by contestant.
    """
    x, y = _batch(cfg, bench)
    timings: dict[str, Timing] = {}
    runs: dict[str, Callable[[], Any]] = {}
    for name in bench.names:
        if bench.late():
            bench.cut = True
            break
        timing = Timing()
        run = _tolerant(bench, name, lambda: _prepare(name, cfg, x, y, timing, bench))  # noqa: B023
        if run is not None:
            timings[name], runs[name] = timing, run
    _take_turns(bench, runs, timings)
    if bench.device.type == "cuda":
        runs.clear()
        gc.collect()
        torch.cuda.empty_cache()
    return timings


def _batch(cfg: DictConfig, bench: Bench) -> tuple[Tensor, Tensor]:
    """Return random images [B, C, H, W] and labels [B]."""
    random = torch.Generator().manual_seed(0)
    shape = (bench.batch, cfg.dataset.channels, cfg.dataset.size, cfg.dataset.size)
    x = torch.randn(shape, generator=random).to(bench.device)
    return x, torch.randint(0, cfg.dataset.classes, (bench.batch,), generator=random).to(bench.device)


def _tolerant(bench: Bench, name: str, action: Callable[[], Any]) -> Any:
    """Return the action's result; if the contestant must be left out, add a note and return None."""
    try:
        return action()
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        bench.note(f"{name}: left out, as it does not fit into memory")
    except NotCaptured as error:
        bench.note(f"{name}: left out, as it could not be captured: {error}")
    except Exception as error:
        if name in NAMES:
            raise
        bench.note(f"{name}: left out: {_first_line(error)}")
    return None


def _extra(bench: Bench, what: str, action: Callable[[], Any]) -> Any:
    """Return the action's result; if it fails, add a note and return None.

    Used for measurements whose failure should not cost the whole table.
    """
    try:
        return action()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of many types: counters and profilers may not support a kernel
        bench.note(f"{what}: not measured: {_first_line(error)}")
        return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _prepare(
    name: str, cfg: DictConfig, x: Tensor, y: Tensor, timing: Timing, bench: Bench
) -> Callable[[], Any]:
    """Return a contestant's step, ready to be timed, after measuring all that is measured separately."""
    if name in (RATE_COMPILED, RATE_GRAPH) and not compiled.works(bench.device):
        raise RuntimeError("torch.compile does not work here")
    step = Step(*contestant(name, cfg, x, bench.rate_options), cfg, x, y)
    step.online = name if name in ONLINE else None
    step()  # warm-up: compiles, chooses algorithms, allocates gradients
    if bench.device.type == "cuda":
        _lay_out(name, step, bench)
    timing.layout = step.layout
    _count(name, step, timing, bench)
    run = capture(step) if name == RATE_GRAPH else step
    if bench.profile or bench.device.type == "cuda":
        kernels = _extra(bench, f"kernels of {name}", lambda: profiled(run, bench.device))
        timing.kernels = kernels or []
    if bench.device.type == "cuda" and timing.kernels:
        timing.kernel_launches = launches(timing.kernels)
    return run


def _lay_out(name: str, step: Step, bench: Bench) -> None:
    """Lay the step out in the contestant's memory layout; choose the fastest one at its first measurement."""

    def seconds(step: Step) -> float:
        what = f"{name} in layout {step.layout}"
        taken = _extra(bench, what, lambda: median_seconds(step, bench.device))
        return float("inf") if taken is None else taken

    if name in bench.layouts:
        step.lay_out(bench.layouts[name])
        step()
    else:
        bench.layouts[name] = choose_layout(step, seconds)


def _count(name: str, step: Step, timing: Timing, bench: Bench) -> None:
    """Count the bytes kept, the peak of allocated bytes (GPU only), and the work of a step."""
    timing.kept_bytes = _kept_bytes(step)
    if bench.device.type == "cuda":
        timing.peak_bytes = _peak_bytes(step)
    seen = dataclasses.replace(
        step, forward=eager(name, step.net, step.cfg, step.forward, bench.rate_options)
    )
    fused = runs_compiled(name, bench.rate_options, bench.device)
    timing.work = _extra(bench, f"operations and bytes of {name}", lambda: count(seen, fused))
    if name == BPTT:
        _note_neurons(step, timing.work, bench)


def _kept_bytes(step: Step) -> int:
    """Return the bytes kept for the backward pass at once: of an online mode, the most of a time step."""
    if step.online is not None:
        of_steps: list[int] = []
        watched = dataclasses.replace(step, around=lambda: kept_bytes_added(step.net, of_steps))
        watched()
        return max(of_steps)
    sizes: list[int] = []
    with count_kept_bytes(step.net, sizes), count_packed_bytes(sizes):
        step()
    return sum(sizes)


def _note_neurons(step: Step, work: Work | None, bench: Bench) -> None:
    """Record which kernels SpikingJelly's neurons ran in; add a warning if a GPU used plain torch."""
    bench.neurons, why = neurons_used(step.net, bench.device, None if work is None else work.namespaces)
    if bench.device.type == "cuda" and bench.neurons == "torch":
        bench.note(f"WARNING: SpikingJelly's neurons ran as plain torch, not in fused kernels ({why})")


def _peak_bytes(step: Step) -> int:
    """Return the peak of allocated bytes in a step, with this contestant's weights but not the others'."""
    device = step.x.device
    step.net.zero_grad(set_to_none=True)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    own = sum(t.numel() * t.element_size() for t in [*step.net.parameters(), *step.net.buffers()])
    return torch.cuda.max_memory_allocated(device) - before + own


def _take_turns(bench: Bench, runs: dict[str, Callable[[], Any]], timings: dict[str, Timing]) -> None:
    """Time all contestants in turn, after a warm-up; drop those that fail."""
    warmup = WARMUP[bench.device.type]
    for number in range(warmup + bench.rounds):
        for name in list(runs):
            times = _tolerant(bench, name, lambda: timed(runs[name], bench.device))  # noqa: B023
            if times is None:
                del runs[name], timings[name]
            elif number >= warmup:
                timings[name].wall.append(times[0])
                timings[name].cpu.append(times[1])


def ratio(of: list[float], to: list[float]) -> float:
    """Return the median over rounds of the ratio `of / to` of each round."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))
