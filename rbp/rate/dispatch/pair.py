"""The pair (spikes, rate) that walks through a network in place of a tensor.

A network written for one time step, [B, ...] in and [B, ...] out, is called once with a pair that hides the
time axis; a network written with SpikingJelly's wrappers for [T, B, ...] with a pair that shows it. Every
torch function that meets a pair is applied to the spikes of each time step and, where the method needs it, to
the rate: their time mean, which alone carries the graph.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rbp.rate.dispatch import tables as functions
from rbp.rate.dispatch.custom import custom_function
from rbp.rate.errors import NoRuleError
from rbp.rate.memory.currents import Currents, Term
from rbp.rate.memory.traces import Run


class Pair:
    """Spikes and their rate.

    spikes: [T, B, ...]; None in the pass of step mode s that only builds the graph of the rates. Where they
        are given as currents not computed yet, they are when they are asked for; `currents` hands them on.
    rate: [B, ...], the time mean of the spikes; None where none is wanted (BPTT, the steps of step mode s).
    run: the forward pass that it belongs to.
    shown: False where the pair looks like one step, [B, ...], to the network. True where it looks like all of
        them: then spikes is [T*n, ...] and rate [n, ...], n = 1 for a sequence [T, B, ...] (the rate being
        [1, B, ...]), n = B for one folded into the batch, [T*B, ...].
    """

    def __init__(
        self, spikes: Tensor | Currents | None, rate: Tensor | None, run: Run, shown: bool = False
    ) -> None:
        self.given, self.rate, self.run, self.shown = spikes, rate, run, shown
        # The pairs whose memory it shares, as a view of a tensor does.
        self.bases: tuple[weakref.ref[Pair], ...] = ()
        self.stale = False  # changed in place through a view, which did not reach it

    def written_to(self, result: Pair) -> None:
        """Take over the result of a change in place."""
        self.given, self.rate = result.given, result.rate
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
        held = self.given if self.rate is None else self.rate
        loses = isinstance(held, Tensor) and held.requires_grad and not torch.is_grad_enabled()
        if loses and (name := custom_function()) is not None:
            raise NoRuleError(
                f"{name}, a torch.autograd.Function, would lose the gradient; call it in a layer of its own "
                "(nn.Module)"
            )

    @property
    def spikes(self) -> Tensor | None:
        if isinstance(self.given, Currents):
            self.given = self.given.written_out()
        return self.given

    @property
    def currents(self) -> Currents:
        """The spikes as currents, computed or not; there must be some."""
        assert self.given is not None
        return self.given if isinstance(self.given, Currents) else Currents([Term(self.given)])

    @property
    def looks(self) -> Tensor:
        """A tensor of the shape, dtype and device that the network may ask for."""
        if self.given is None:
            assert self.rate is not None
            return self.rate
        if isinstance(self.given, Currents):
            looks = self.given.looks
            return looks.expand(self.given.shape) if self.shown else looks
        assert self.spikes is not None
        return self.spikes if self.shown else self.spikes[0]

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        from rbp.rate.dispatch.apply import apply

        return apply(func, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        member = getattr(Tensor, name, None)
        if member is None or name.startswith("__"):
            raise AttributeError(f"a pair (spikes, rate) has no {name}, nor has a tensor")
        if callable(member):
            return lambda *args, **kwargs: self.__torch_function__(member, (Pair,), (self, *args), kwargs)
        if name in functions.PROPERTIES:
            return self.__torch_function__(functions.PROPERTIES[name], (Pair,), (self,))
        return getattr(self.looks, name)

    def __iadd__(self, other: Any) -> Any:
        return self.add_(other)

    def __isub__(self, other: Any) -> Any:
        return self.sub_(other)

    def __imul__(self, other: Any) -> Any:
        return self.mul_(other)

    def __itruediv__(self, other: Any) -> Any:
        return self.div_(other)


OPERATORS: dict[str, Callable] = {
    **{"add": torch.add, "radd": torch.add, "sub": torch.sub, "rsub": torch.rsub, "neg": torch.neg},
    **{"mul": torch.mul, "rmul": torch.mul, "truediv": torch.div, "matmul": torch.matmul},
    **{"getitem": Tensor.__getitem__, "len": Tensor.__len__},
    "rmatmul": lambda x, matrix: torch.matmul(matrix, x),
}
# No rate can answer these: Tensor's own are handed on, for the message that names the operator and the layer.
_REFUSED = (
    *(
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "pow",
        "rpow",
        "rtruediv",
        "floordiv",
        "mod",
        "abs",
        "and",
        "or",
        "xor",
    ),
    *("invert", "bool", "float", "int", "setitem"),
)
OPERATORS |= {name: getattr(Tensor, f"__{name}__") for name in _REFUSED}
functions.LINEAR_IN_ONE.add(OPERATORS["rmatmul"])


def _operator(func: Callable) -> Callable:
    def method(self: Pair, *args: Any) -> Any:
        if args and args[0] is None:  # x == None: Python then compares identities
            return NotImplemented
        return self.__torch_function__(func, (Pair,), (self, *args))

    return method


for _name, _func in OPERATORS.items():
    setattr(Pair, f"__{_name}__", _operator(_func))
Pair.__hash__ = object.__hash__  # type: ignore[method-assign]
