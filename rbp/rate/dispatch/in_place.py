"""Changes in place: of a pair, through views of it, and of a plain tensor that a pair is written to."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor

from rbp.rate.dispatch.call import Call
from rbp.rate.dispatch.pair import Pair
from rbp.rate.dispatch.tables import set_items
from rbp.rate.errors import NoRuleError


def take_over(target: Any, result: Any) -> Any:
    """Let every name of target see the result, as with a tensor."""
    if not isinstance(target, Pair):
        become_pair(target, result)
    else:
        target.written_to(result)
    return target


def write(call: Call, target: Any, index: Any, value: Any) -> None:
    """target[index] = value, where any of them is a pair.

    Raises NoRuleError where the network shows time, or the index depends on the input.
    """
    first = call.pairs[0]
    if first.time is not None:
        raise NoRuleError("a slice assignment in a network that shows time: write it out of place, as by cat")
    if any(pair is not target and pair is not value for pair in call.pairs):
        raise NoRuleError("an assignment to places that depend on the input, which differ from step to step")
    to = target if isinstance(target, Pair) else constant_pair(target, first)
    take_over(target, Pair.apply(set_items, (to, index, value), {}))


def become_pair(tensor: Tensor, result: Pair) -> None:
    """Turn a tensor that the network made, such as zeros, into the pair that was written to it.

    Raises NoRuleError for a view, a leaf with a gradient, or another shape, as other names would not see it.
    """
    if result.run.owns(tensor):
        raise NoRuleError(
            "a buffer or an attribute of the network takes a spiking tensor in place: what is kept from step "
            "to step only a pass step by step sees, step_mode='s' with grad_mode='bptt'"
        )
    if tensor._base is not None or tensor.requires_grad or tensor.shape != result.shape:
        raise NoRuleError(
            "a view or a parameter cannot take a spiking tensor in place: write it out of place"
        )
    tensor.__class__ = Pair  # as torch's lazy modules do with their parameters
    Pair.__init__(tensor, result.sequence, result.rate, result.run, result.time, result.constant)  # type: ignore[arg-type]


def constant_pair(y: Tensor, like: Pair) -> Pair:
    """A tensor that is the same at every step, as a pair of like's run."""
    if like.sequence is None:
        return Pair(None, y, like.run, constant=True)
    steps = like.currents.shape[0]
    if not like.run.rate:
        return Pair(y.expand(steps, *y.shape), None, like.run, constant=True)
    spikes = y.detach().expand(steps, *y.shape)
    return Pair(spikes, None if like.rate is None else y, like.run, constant=True)


def note_views(pair: Pair, sources: list[Pair]) -> None:
    """Remember whose memory a call's result shares."""
    pair.bases = tuple(ref for p in sources if _shares(p, pair) for ref in (*p.bases, weakref.ref(p)))


def _shares(pair: Pair, result: Pair) -> bool:
    a, b = (p.rate if p.sequence is None else p.sequence for p in (pair, result))
    return isinstance(a, Tensor) and isinstance(b, Tensor) and _memory(a) == _memory(b)


def _memory(x: Tensor) -> int:
    return x.untyped_storage().data_ptr() if x.device.type != "meta" else id(x)
