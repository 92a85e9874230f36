"""The pair (spikes, rate) that walks through a network in place of a tensor.

A network written for one time step, [B, ...] in and [B, ...] out, is called once with a pair that hides the
time axis; a network that handles time itself, with a pair that shows it. Every torch function that meets a
pair is applied to the spikes of each time step and, where the method needs it, to the rate: their time mean,
which alone carries the graph.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from rbp.rate.dispatch.custom import custom_function
from rbp.rate.errors import NoRuleError
from rbp.rate.memory.currents import Currents, Term
from rbp.rate.memory.run import Run
from rbp.rate.memory.traces import is_constant

_NOTHING = torch.empty((), device="meta")  # what code that goes past __torch_function__ finds in a pair


class TimeAxis(NamedTuple):
    """Where a tensor shows time: index i of axis `dim` belongs to step i // inner % T.

    [T, B, ...] is (0, 1), folded into the batch, [T*B, ...], it is (0, B); [B, T, ...] is (1, 1).
    """

    dim: int = 0
    inner: int = 1


class Pair(Tensor):
    """Spikes and their rate; to the network a tensor.

    spikes: [T, B, ...]; None in the pass of step mode s that only builds the graph of the rates. Where they
        are given as currents not computed yet, they are when they are asked for; `currents` hands them on.
    rate: [B, ...], the time mean of the spikes; None where none is wanted (BPTT, the steps of step mode s).
    run: the forward pass that it belongs to.
    time: None where the pair looks like one step, [B, ...], to the network. Where it looks like all of them,
        the place of time in the spikes; the rate then has the same axes, with one step in the place of T.
    constant: whether it is the same at every step; None: told from the spikes. (Of one step, any is.)
    """

    apply: ClassVar[Callable[[Callable, tuple, dict], Any]]  # set by rbp.rate.dispatch.apply

    def __new__(cls, *_: Any, **__: Any) -> Pair:
        return Tensor._make_subclass(cls, _NOTHING)

    def __init__(
        self,
        spikes: Tensor | Currents | None,
        rate: Tensor | None,
        run: Run,
        time: TimeAxis | None = None,
        constant: bool | None = None,
    ) -> None:
        self.sequence, self.rate, self.run, self.time = spikes, rate, run, time
        self.constant = run.known_T == 1 or (_is_constant(spikes) if constant is None else constant)
        # The pairs whose memory it shares, as a view of a tensor does.
        self.bases: tuple[weakref.ref[Pair], ...] = ()
        self.number = run.passes  # the pass that made it
        self.stale = False  # changed in place through a view that did not reach it

    def written_to(self, result: Pair) -> None:
        """Take over the result of a change in place."""
        self.sequence, self.rate, self.constant = result.sequence, result.rate, result.constant
        for base in (ref() for ref in self.bases):
            if base is not None:
                base.stale = True

    def check(self) -> None:
        """Before a use: raise NoRuleError where a tensor in its place would have given something else."""
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
        if name not in (None, "CheckpointFunction"):  # that one runs again with a graph
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
        """The spikes as currents, computed or not; there must be some."""
        assert self.sequence is not None
        return self.sequence if isinstance(self.sequence, Currents) else Currents([Term(self.sequence)])

    @property
    def template(self) -> Tensor:
        """A tensor of the shape, dtype and device that the network may ask for."""
        if self.sequence is None:
            assert self.rate is not None
            return self.rate
        if isinstance(self.sequence, Currents):
            template = self.sequence.template
            return template.expand(self.sequence.shape) if self.time is not None else template
        return self.sequence if self.time is not None else self.sequence[0]

    @property
    def value(self) -> Tensor:
        """Of what is the same at every step: that, with its graph."""
        if self.rate is not None:
            return self.rate
        assert self.spikes is not None
        return self.spikes[0]

    @property
    def carries(self) -> Tensor | None:
        """The tensor that has the graph: the rate, in BPTT the sequence."""
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
