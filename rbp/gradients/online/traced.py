"""Spikes that carry the trace of their past: a tensor for the network, and the trace for its weights.

The network's own code runs on a `Traced` as on any tensor; values and graph are those of the spikes. What
happens to the trace is told in rbp.gradients.online.functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor


class Traced(Tensor):
    """A tensor that was computed from spikes by linear operations.

    Attributes:
        past: The trace: the same operations on the spikes' traces, without a graph. None if a later operation
            in place was not linear.
        apply: What calls a torch function, set by rbp.gradients.online.functions.
    """

    past: Tensor | None
    apply: ClassVar[Callable[[Callable, tuple, dict[str, Any]], Any]]

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return Traced.apply(func, args, kwargs or {})


def traced(x: Tensor, trace: Tensor | None) -> Tensor:
    """Give a tensor a trace. It becomes a `Traced` itself, so that all who hold it see the trace."""
    x.__class__ = Traced
    assert isinstance(x, Traced)
    x.past = trace
    return x


def plain(x: Any) -> Any:
    """Return a tensor without its trace; anything else unchanged."""
    if not isinstance(x, Traced):
        return x
    with torch._C.DisableTorchFunctionSubclass():
        return x.as_subclass(Tensor)


def has_trace(x: Any) -> bool:
    """Whether a value is a tensor with a trace."""
    return isinstance(x, Traced) and x.past is not None


def trace_of(x: Any) -> Any:
    """Return the trace of a tensor; a tensor without one counts as its own; other values unchanged."""
    if isinstance(x, Traced) and x.past is not None:
        return x.past
    return plain(x).detach() if isinstance(x, Tensor) else x
