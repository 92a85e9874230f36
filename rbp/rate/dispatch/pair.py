"""The pair of spikes and rate that is passed through a network in place of a tensor.

Rate-based backpropagation runs the network on spikes without a graph and differentiates a second path, that
of the rates. A pair carries both. A network written for one time step, [B, ...] in and [B, ...] out, is
called with a pair that hides the time axis; a network that handles time itself is called with a pair that
shows it. Every torch function of a pair is applied to the spikes of each time step and, in rate mode, to the
rate, which alone carries the graph.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from rbp.rate.dispatch.custom import custom_function
from rbp.rate.errors import NoRuleError
from rbp.rate.memory.currents import Currents, Term
from rbp.rate.memory.forward_pass import ForwardPass
from rbp.rate.memory.traces import is_constant

_NOTHING = torch.empty((), device="meta")  # what code that bypasses __torch_function__ sees of a pair


class TimeAxis(NamedTuple):
    """Where a tensor has its visible time axis: index i of axis `dim` belongs to step i // inner % T.

    (0, 1) for [T, B, ...], (0, B) for [T*B, ...] with time folded into the batch, (1, 1) for [B, T, ...].

    Attributes:
        dim: the axis that holds time.
        inner: how many consecutive indices of that axis belong to the same step.
    """

    dim: int = 0
    inner: int = 1


class Pair(Tensor):
    """A sequence of spikes, or of currents, and its rate, in place of a tensor in the network.

    The network can use a pair like a tensor: `shape`, `dtype` and other properties are those of the tensor it
    expects, and torch functions of a pair return pairs. Forward hooks of `rbp.forward` in rate mode receive
    pairs.

    Args:
        spikes: the sequence, [T, B, ...], or [1, B, ...] at a step of step mode s. With a visible time axis,
            the tensor as the network sees it. None in the call of step mode s that only builds the graph of
            the rates. `Currents` are evaluated when `spikes` is first read.
        rate: the time mean of the sequence, [B, ...], with its graph. With a visible time axis it has the
            axes of the spikes, with one step in place of T ([1, B, ...] or [B, 1, ...]). None where there is
            no rate: in BPTT and at the steps of step mode s.
        run: the forward pass that the pair belongs to.
        time: the visible time axis, or None if the network sees the pair as a single step.
        constant: whether the sequence is the same at every step; None to infer it from the spikes. Always
            true at T = 1.

    Attributes:
        spikes: the sequence as a tensor, or None.
        sequence: the sequence, possibly as unevaluated `Currents`, or None.
        currents: the sequence as `Currents`, evaluated or not.
        rate: the time mean, or None.
        run: the forward pass.
        time: the visible time axis, or None.
        constant: whether the sequence is the same at every step.
        value: the value at any step of a constant pair, with its graph.
        carries: the tensor that carries the graph: the rate, or in BPTT the sequence.
        template: a tensor of the shape, dtype and device that the network sees.
        bases: weak references to the pairs that it shares memory with, as a view does with its base.
        number: the call of the network, within the pass, in which the pair was made.
        stale: whether its memory was changed in place through a view.

    Raises:
        NoRuleError: by torch functions of a pair that has no rule for them, see `check` and
            rbp.rate.dispatch.apply.
    """

    apply: ClassVar[Callable[[Callable, tuple, dict], Any]]  # set by rbp.rate.dispatch.apply

    def __new__(cls, *_: Any, **__: Any) -> Pair:
        return Tensor._make_subclass(cls, _NOTHING)

    def __init__(
        self,
        spikes: Tensor | Currents | None,
        rate: Tensor | None,
        run: ForwardPass,
        time: TimeAxis | None = None,
        constant: bool | None = None,
    ) -> None:
        self.sequence, self.rate, self.run, self.time = spikes, rate, run, time
        self.constant = run.known_T == 1 or (_is_constant(spikes) if constant is None else constant)
        self.bases: tuple[weakref.ref[Pair], ...] = ()
        self.views: list[weakref.ref[Pair]] = []
        self.number = run.passes
        self.stale = False

    def written_to(self, result: Pair) -> None:
        """Take over the contents of `result`, the outcome of an in-place change; mark the bases stale."""
        self.sequence, self.rate, self.constant = result.sequence, result.rate, result.constant
        others = {id(pair): pair for base in self._alive(self.bases) for pair in (base, *base._views())}
        others |= {id(pair): pair for pair in self._views()}
        for pair in others.values():
            pair.stale = pair.stale or pair is not self

    def _views(self) -> list[Pair]:
        return self._alive(self.views)

    @staticmethod
    def _alive(refs: Iterable[weakref.ref[Pair]]) -> list[Pair]:
        return [pair for pair in (ref() for ref in refs) if pair is not None]

    def check(self) -> None:
        """Check, before each use, that the pair behaves as a tensor would.

        Raises:
            NoRuleError: if its memory was changed through a view, if it was made in an earlier call of the
                network or an earlier pass, or if it requires grad and a torch.autograd.Function is running,
                which would lose the gradient.
        """
        if self.stale:
            raise NoRuleError(
                "a tensor was changed in place through a view of it (a slice, a reshape) and is used again: "
                "write the change out of place"
            )
        if self.run.over or self.number != self.run.passes:
            raise NoRuleError(
                "a tensor of an earlier step or call is used, which the network has kept: only a pass step "
                "by step sees that, step_mode='s' with grad_mode='bptt'"
            )
        if not self.requires_grad or torch.is_grad_enabled():
            return
        name = custom_function()
        if name not in (None, "CheckpointFunction"):  # a checkpoint reruns its function with a graph
            raise NoRuleError(
                f"{name}, a torch.autograd.Function, would lose the gradient; call it in a layer of its own "
                "(nn.Module)"
            )

    @property
    def spikes(self) -> Tensor | None:
        if isinstance(self.sequence, Currents):
            self.sequence = self.sequence.written_out()
        return self.sequence

    @property
    def currents(self) -> Currents:
        """The sequence, which must not be None, as `Currents`, evaluated or not."""
        assert self.sequence is not None
        return self.sequence if isinstance(self.sequence, Currents) else Currents([Term(self.sequence)])

    @property
    def template(self) -> Tensor:
        """A tensor of the shape, dtype and device that the network sees."""
        if self.sequence is None:
            assert self.rate is not None
            return self.rate if self.run.k == 1 else self.rate[0]
        if isinstance(self.sequence, Currents):
            template = self.sequence.template
            return template.expand(self.sequence.shape) if self.time is not None else template
        return self.sequence if self.time is not None else self.sequence[0]

    @property
    def value(self) -> Tensor:
        """The value at any step, [B, ...], of a pair that is constant in time, with its graph."""
        if self.rate is not None:
            return self.rate if self.run.k == 1 else self.rate[0]
        assert self.spikes is not None
        return self.spikes[0]

    @property
    def carries(self) -> Tensor | None:
        """The tensor that carries the graph: the rate, or in BPTT the sequence."""
        held = self.sequence if self.rate is None else self.rate
        return held if isinstance(held, Tensor) else None

    @property
    def shape(self) -> torch.Size:  # type: ignore[override]
        return self.template.shape

    @property
    def requires_grad(self) -> bool:  # type: ignore[override]
        held = self.carries
        return held is not None and held.requires_grad

    @property
    def grad_fn(self) -> Any:  # type: ignore[override]
        held = self.carries
        return None if held is None else held.grad_fn

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"Pair(shape={tuple(self.shape)}, T={self.run.T}, time={self.time})"

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return Pair.apply(func, args, kwargs or {})


def _is_constant(spikes: Tensor | Currents | None) -> bool:
    return spikes.constant if isinstance(spikes, Currents) else is_constant(spikes)
