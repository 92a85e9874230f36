"""Time, bytes and kernels of one training step, the contestants turn by turn."""

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
from rbp.bench.timing import WARMUP, timed, usual
from rbp.rate.neurons import compiled
from rbp.train.telemetry.costs import count_kept_bytes


@dataclass
class Timing:
    """One contestant at one T: seconds of every round, bytes kept for backward, the most bytes allocated (on
    a GPU), layout in memory, work, kernels run (on a GPU), and the rows of rbp.bench.profiling."""

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
    """One table's settings, and what comes to light on the way.

    rate_options: of rbp.forward. until: of time.monotonic(), after which nothing new is begun. layouts: each
    contestant's, chosen when it is first met. notes: what was left out, and why. neurons: the kernels that
    SpikingJelly's neurons ran in. cut: time was up before each contestant was begun.
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
        """Whether time is up."""
        return time.monotonic() >= self.until

    def note(self, line: str) -> None:
        """Remember a line, once."""
        if line not in self.notes:
            self.notes.append(line)


def measure(cfg: DictConfig, bench: Bench) -> dict[str, Timing]:
    """Timings of every contestant on a random batch of the data set's shape.

    In each round every contestant takes one step, so that a change of the machine's speed meets all alike.
    One that runs out of memory or cannot be compiled or captured is left out, with a note; so are those that
    were not begun when time was up.
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
    random = torch.Generator().manual_seed(0)
    shape = (bench.batch, cfg.dataset.channels, cfg.dataset.size, cfg.dataset.size)
    x = torch.randn(shape, generator=random).to(bench.device)
    return x, torch.randint(0, cfg.dataset.classes, (bench.batch,), generator=random).to(bench.device)


def _tolerant(bench: Bench, name: str, action: Callable[[], Any]) -> Any:
    """What the action returns; None, and a note, where the contestant must be left out."""
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
    """What the action returns; None, and a note, where it fails: no table is given up for it."""
    try:
        return action()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of many types: counters and profilers meet kernels that they do not know
        bench.note(f"{what}: not measured: {_first_line(error)}")
        return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _prepare(
    name: str, cfg: DictConfig, x: Tensor, y: Tensor, timing: Timing, bench: Bench
) -> Callable[[], Any]:
    """A contestant's step, ready to be timed, after all that is measured by itself."""
    if name in (RATE_COMPILED, RATE_GRAPH) and not compiled.works(bench.device):
        raise RuntimeError("torch.compile does not work here")
    step = Step(*contestant(name, cfg, x, bench.rate_options), cfg, x, y)
    step()  # compiles, chooses algorithms, allocates gradients
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
    def seconds(step: Step) -> float:
        what = f"{name} in layout {step.layout}"
        taken = _extra(bench, what, lambda: usual(step, bench.device))
        return float("inf") if taken is None else taken

    if name in bench.layouts:
        step.lay_out(bench.layouts[name])
        step()
    else:
        bench.layouts[name] = choose_layout(step, seconds)


def _count(name: str, step: Step, timing: Timing, bench: Bench) -> None:
    sizes: list[int] = []
    with count_kept_bytes(step.net, sizes), count_packed_bytes(sizes):
        step()
    timing.kept_bytes = sum(sizes)
    if bench.device.type == "cuda":
        timing.peak_bytes = _peak_bytes(step)
    seen = dataclasses.replace(
        step, forward=eager(name, step.net, step.cfg, step.forward, bench.rate_options)
    )
    fused = runs_compiled(name, bench.rate_options, bench.device)
    timing.work = _extra(bench, f"operations and bytes of {name}", lambda: count(seen, fused))
    if name == BPTT:
        _note_neurons(step, timing.work, bench)


def _note_neurons(step: Step, work: Work | None, bench: Bench) -> None:
    bench.neurons, why = neurons_used(step.net, bench.device, None if work is None else work.namespaces)
    if bench.device.type == "cuda" and bench.neurons == "torch":
        bench.note(f"WARNING: SpikingJelly's neurons ran as plain torch, not in fused kernels ({why})")


def _peak_bytes(step: Step) -> int:
    """The most that is allocated during a step, the contestant's weights with it and the others' without."""
    device = step.x.device
    step.net.zero_grad(set_to_none=True)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    own = sum(t.numel() * t.element_size() for t in [*step.net.parameters(), *step.net.buffers()])
    return torch.cuda.max_memory_allocated(device) - before + own


def _take_turns(bench: Bench, runs: dict[str, Callable[[], Any]], timings: dict[str, Timing]) -> None:
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
    """The median over rounds of each round's ratio."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))
