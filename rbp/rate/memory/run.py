"""One forward pass over T time steps: its settings, and the trace of every call of every layer."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor, nn

from rbp.rate.memory.traces import Drafts, Trace

TraceT = TypeVar("TraceT", bound=Trace)


class Run:
    """One forward pass over T time steps.

    In step mode s the network is called once per step, and in rate mode once more for the graph. Its layers
    are called in the same order each time, so a layer's n-th call in one of them finds the trace of its n-th
    call in the one before.

    Args:
        T: the number of steps; None until a network that repeats its input itself shows it to a neuron.
        rate: whether rates are carried.
        single_step: whether the network is called once per step.
        time_visible: whether the network sees the time axis.
        checks_calls: whether a neuron that is called more than once per step is an error.
        kernels, chunk: see `rbp.forward`.
    """

    def __init__(
        self,
        T: int | None,
        *,
        rate: bool,
        single_step: bool = False,
        time_visible: bool = False,
        checks_calls: bool = False,
        kernels: str = "plain",
        chunk: int | None = None,
    ) -> None:
        self.known_T, self.rate, self.single_step = T, rate, single_step
        self.time_visible, self.checks_calls = time_visible, checks_calls
        self.kernels, self.chunk = kernels, chunk
        self.drafts = Drafts()
        self.net: nn.Module | None = None  # the network that runs, once it does
        self.passes = 0  # how many times the network has been called
        self.checkpoint_depth = 0  # how many of torch's checkpoints are running
        self.over = False
        self.steps_shown: dict[Any, int] = {}  # to each neuron, in the order of their first calls
        self._kept: dict[tuple[Any, int], Trace] = {}
        self._calls: dict[Any, int] = {}

    @property
    def T(self) -> int:
        assert self.known_T is not None, "the number of steps is not known before the first neuron"
        return self.known_T

    @property
    def visible_steps(self) -> int:
        """How many steps the network sees in one call."""
        return 1 if self.single_step else self.T

    def trace(self, caller: Any, kind: type[TraceT]) -> TraceT:
        """The trace of this call of a layer or a function."""
        key = (caller, self.count_call(caller))
        if key in self._kept:
            trace = self._kept[key]
            assert isinstance(trace, kind)
            return trace
        trace = kind(self.T, self.kernels, self.drafts)
        if self.single_step:
            self._kept[key] = trace
        return trace

    def count_call(self, caller: Any) -> int:
        """Count a call; how many there were before in this call of the network."""
        number = self._calls.get(caller, 0)
        self._calls[caller] = number + 1
        return number

    def calls_of(self, caller: Any) -> int:
        """How often the caller was called so far in this call of the network."""
        return self._calls.get(caller, 0)

    def next_pass(self) -> None:
        """The network is about to be called again."""
        self.passes += 1
        self._calls.clear()

    def reopen(self) -> dict[Any, int]:
        """Let a checkpoint run a part of the network again. Returns what `close_again` wants."""
        calls, self._calls, self.over = self._calls, {}, False
        return calls

    def close_again(self, calls: dict[Any, int]) -> None:
        self._calls, self.over = calls, True

    def agrees_on_T(self, T: int) -> bool:
        """Take T from the first neuron that is shown it; False for one that is shown another number."""
        if self.known_T is None:
            self.known_T = T
        return self.known_T == T

    def note_steps(self, neuron: Any, steps: int | None) -> None:
        """A neuron was shown so many steps at once, or (None) one more."""
        self.steps_shown[neuron] = steps if steps is not None else self.steps_shown.get(neuron, 0) + 1

    @property
    def first_shown(self) -> int | None:
        """How many steps the first neuron was shown."""
        return next(iter(self.steps_shown.values()), None)

    def owns(self, tensor: Tensor) -> bool:
        """Whether the network had the tensor before the pass: a buffer, a parameter or an attribute."""
        if self.net is None:
            return False
        own = (value for module in self.net.modules() for value in vars(module).values())
        return any(tensor is one for one in (*self.net.buffers(), *self.net.parameters(), *own))
