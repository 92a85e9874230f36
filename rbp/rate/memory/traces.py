"""What one forward pass in rate mode remembers: the run, and a trace of every call of every layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def is_constant(x_seq: Any) -> bool:
    """Whether [T, ...] is one step seen T times (stride 0 in time): then one step's work is enough."""
    return isinstance(x_seq, Tensor) and x_seq.shape[0] > 1 and x_seq.stride(0) == 0


class Drafts:
    """Copies of buffers (running statistics) to write to during a pass: a pass that fails leaves the
    buffers."""

    def __init__(self) -> None:
        self.copies: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, buffer: Tensor) -> Tensor:
        """The copy that takes the buffer's place once the whole network has been through."""
        return self.copies.setdefault(id(buffer), (buffer, buffer.clone()))[1]

    def publish(self) -> None:
        for buffer, copy in self.copies.values():
            buffer.copy_(copy)


class Trace:
    """What one call of one layer keeps over the T steps: time means by name, and state between steps."""

    def __init__(self, steps: int, drafts: Drafts | None = None, kernels: str = "plain") -> None:
        self.steps, self.kernels = steps, kernels
        self.means: dict[str, Tensor] = {}
        self.state: Any = None
        self.drafts = drafts or Drafts()

    def average(self, name: str, x_seq: Tensor) -> None:
        """Let the steps of x_seq [t, ...], some or all of the T, count in the time mean called name."""
        share = x_seq.shape[0] / self.steps
        low_precision = x_seq.dtype in (torch.bfloat16, torch.float16)
        if is_constant(x_seq) or x_seq.shape[0] == 1:
            part = x_seq[0].float() if low_precision else x_seq[0]
        else:
            part = x_seq.mean(0, dtype=torch.float32 if low_precision else None)
        self.add(name, part, share)

    def add(self, name: str, part: Tensor, share: float = 1.0) -> None:
        """Add a mean over a share of the steps."""
        if name in self.means:
            self.means[name].add_(part, alpha=share)
        else:
            self.means[name] = part if share == 1.0 else part * share

    def take(self, name: str) -> Tensor:
        """The time mean called name; it is forgotten here, so that only the graph keeps it."""
        return self.means.pop(name)


class Run:
    """One forward pass over `steps` time steps.

    In step mode s the network is called once a step and once more for the graph: its layers are called in the
    same order each time, so a layer's n-th call of a pass finds the trace of its n-th call of the pass
    before.

    steps: T; None until a network that repeats its input itself shows it. rate: whether rates are carried.
    keep: whether traces last from pass to pass. shows: whether the network sees time, as [T, ...], and then
    `seen` is the number of steps that it sees in a call. counts: whether a neuron may be called once a step
    only. kernels and chunk: see rbp.forward.
    """

    def __init__(
        self,
        steps: int | None,
        *,
        rate: bool,
        keep: bool = False,
        shows: bool = False,
        counts: bool = False,
        kernels: str = "plain",
        chunk: int | None = None,
    ) -> None:
        self._steps, self.rate, self.keep, self.shows = steps, rate, keep, shows
        self.kernels, self.chunk = kernels, chunk
        self.kept: dict[tuple[Any, int], Trace] = {}
        self.calls: dict[Any, int] = {}
        self.drafts = Drafts()
        self.counts = counts
        self.net: nn.Module | None = None  # the network that runs, once it does
        self.passes = 0
        self.in_checkpoint = 0  # how many of torch's checkpoints are being run
        self.over = False
        self.shown: dict[Any, int] = {}  # how many steps each neuron was shown, in the order of calls

    @property
    def steps(self) -> int:
        assert self._steps is not None, "the number of steps is not known before the first neuron"
        return self._steps

    @property
    def known_steps(self) -> int | None:
        return self._steps

    @property
    def shown_steps(self) -> int | None:
        """How many steps the first neuron was shown."""
        return next(iter(self.shown.values()), None)

    def note_steps(self, neuron: Any, steps: int | None) -> None:
        """A neuron is shown so many steps at once, or (None) one more."""
        self.shown[neuron] = steps if steps is not None else self.shown.get(neuron, 0) + 1

    @property
    def seen(self) -> int:
        """How many steps the network sees in a call."""
        return 1 if self.keep else self.steps

    def found_steps(self, steps: int) -> bool:
        """Note the number of steps that a neuron is shown; False where it is not the one known."""
        if self._steps is None:
            self._steps = steps
        return self._steps == steps

    def trace(self, caller: Any) -> tuple[Trace, int]:
        """The trace of this call of caller (a layer or a function), and which call of this pass it is."""
        number = self.calls.get(caller, 0)
        self.calls[caller] = number + 1
        key = (caller, number)
        if key in self.kept:
            return self.kept[key], number
        trace = Trace(self.steps, self.drafts, self.kernels)
        if self.keep:
            self.kept[key] = trace
        return trace, number

    def next_pass(self) -> None:
        self.passes += 1
        self.calls.clear()

    def owns(self, tensor: Tensor) -> bool:
        """Whether the network had it before the pass: a buffer, a parameter or an attribute."""
        if self.net is None:
            return False
        own = (value for module in self.net.modules() for value in vars(module).values())
        return any(tensor is one for one in (*self.net.buffers(), *self.net.parameters(), *own))
