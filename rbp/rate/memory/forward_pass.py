"""The state of one forward pass over T time steps: its settings, and the traces of its layers.

Every pair of spikes and rate refers to its `ForwardPass`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor, nn

from rbp.rate.memory.segments import Segments
from rbp.rate.memory.traces import Drafts, Trace

TraceT = TypeVar("TraceT", bound=Trace)


class ForwardPass:
    """One forward pass over T time steps.

    In step mode s the network is called once per step and, in rate mode, once more to build the graph of the
    rates. Its layers are called in the same order each time, so the n-th call of a layer in one of these
    calls uses the same trace as its n-th call in the others.

    Args:
        T: the number of time steps; None for a network that repeats its input itself, until the first neuron
            is shown a sequence.
        rate: whether pairs carry a rate (rate mode) or spikes only (BPTT).
        single_step: whether the network is called once per step.
        time_visible: whether the network sees the time axis.
        checks_calls: whether it is an error to call a neuron more than once per step.
        kernels: see `rbp.forward`.
        chunk: see `rbp.forward`.
        k, coupled: the number of segments that have a rate each, see rbp.rate.memory.segments.
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
        k: int = 1,
        coupled: bool = True,
    ) -> None:
        self.known_T, self.rate, self.single_step = T, rate, single_step
        self.time_visible, self.checks_calls = time_visible, checks_calls
        self.kernels, self.chunk, self.k, self.coupled = kernels, chunk, k, coupled
        self.drafts = Drafts()
        self.net: nn.Module | None = None  # set when the pass starts
        self.passes = 0  # number of the current call of the network, to tell its pairs from an earlier call's
        self.checkpoint_depth = 0  # number of nested torch.utils.checkpoint calls now running
        self.over = False
        self.steps_shown: dict[Any, int] = {}  # per neuron, in the order of their first calls
        self._kept: dict[tuple[Any, int], Trace] = {}
        self._calls: dict[Any, int] = {}

    @property
    def T(self) -> int:
        assert self.known_T is not None, "the number of steps is not known before the first neuron"
        return self.known_T

    @property
    def segments(self) -> Segments:
        return Segments(self.T, self.k, self.coupled)

    @property
    def visible_steps(self) -> int:
        """The number of steps that the network sees in one call: T, or 1 in step mode s."""
        return 1 if self.single_step else self.T

    def trace(self, caller: Any, kind: type[TraceT]) -> TraceT:
        """Return the trace for the current call of a layer or function.

        In step mode s, the trace is kept for the same call at the next step.

        Args:
            caller: the layer, or the torch function.
            kind: the class of the trace, made by its constructor if there is none yet.
        """
        key = (caller, self.count_call(caller))
        if key in self._kept:
            trace = self._kept[key]
            assert isinstance(trace, kind)
            return trace
        trace = kind(self.segments, self.kernels, self.drafts)
        if self.single_step:
            self._kept[key] = trace
        return trace

    def count_call(self, caller: Any) -> int:
        """Count a call and return how many came before it in the current call of the network."""
        number = self._calls.get(caller, 0)
        self._calls[caller] = number + 1
        return number

    def calls_of(self, caller: Any) -> int:
        """Return how often the caller has been called so far in the current call of the network."""
        return self._calls.get(caller, 0)

    def next_pass(self) -> None:
        """Start the next call of the network; pairs of earlier calls become invalid."""
        self.passes += 1
        self._calls.clear()

    def reopen(self) -> dict[Any, int]:
        """Reopen a finished pass, so that a checkpoint can rerun a part of the network in backward.

        Returns:
            The call counts so far, to be handed to `close_again`.
        """
        calls, self._calls, self.over = self._calls, {}, False
        return calls

    def close_again(self, calls: dict[Any, int]) -> None:
        self._calls, self.over = calls, True

    def agrees_on_T(self, T: int) -> bool:
        """Whether T is the number of steps of the pass; sets it if it is not known yet."""
        if self.known_T is None:
            self.known_T = T
        return self.known_T == T

    def note_steps(self, neuron: Any, steps: int | None) -> None:
        """Record that a neuron was shown `steps` steps at once, or one more step if None."""
        self.steps_shown[neuron] = steps if steps is not None else self.steps_shown.get(neuron, 0) + 1

    @property
    def first_shown(self) -> int | None:
        """The number of steps shown to the neuron that was called first, or None before any call."""
        return next(iter(self.steps_shown.values()), None)

    def owns(self, tensor: Tensor) -> bool:
        """Whether the tensor is a buffer, a parameter or a plain attribute of one of the modules."""
        if self.net is None:
            return False
        own = (value for module in self.net.modules() for value in vars(module).values())
        return any(tensor is one for one in (*self.net.buffers(), *self.net.parameters(), *own))
