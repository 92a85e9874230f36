"""In-place changes: of a pair, of views of it, and of a plain tensor that a pair is written to.

Pairs are changed in place by replacing their contents with the result of the out-of-place function, so every
reference sees the change. Views do not share memory with the new contents; using one that the change did not
reach is an error (see `Pair.check`).
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor

from rbp.rate.dispatch.call import Call
from rbp.rate.dispatch.pair import Pair
from rbp.rate.dispatch.tables import set_items
from rbp.rate.errors import NoRuleError


def take_over(target: Any, result: Any) -> Any:
    """Replace the contents of target, a pair or a plain tensor, by the result; return target.

    Every reference to target then sees the result, as after an in-place change of a tensor.
    """
    if isinstance(target, Pair) and target.requires_grad and not torch.is_grad_enabled():
        raise NoRuleError("a spiking tensor is changed in place under no_grad, which would lose its gradient")
    if not isinstance(target, Pair):
        become_pair(target, result)
    else:
        target.written_to(result)
    return target


def write(call: Call, target: Any, index: Any, value: Any) -> None:
    """Perform target[index] = value, where at least one of the three is a pair.

    Raises:
        NoRuleError: if the network sees the time axis, if the index is a pair, or if `become_pair` refuses a
            plain tensor as the target.
    """
    first = call.pairs[0]
    if first.time is not None:
        raise NoRuleError("a slice assignment in a network that shows time: write it out of place, as by cat")
    if any(pair is not target and pair is not value for pair in call.pairs):
        raise NoRuleError("an assignment to places that depend on the input, which differ from step to step")
    to = target if isinstance(target, Pair) else constant_pair(target, first)
    take_over(target, Pair.apply(set_items, (to, index, value), {}))


def become_pair(tensor: Tensor, result: Pair) -> None:
    """Turn a plain tensor that the network made in its forward, such as zeros, into a pair.

    Raises:
        NoRuleError: if the tensor belongs to the network (a buffer, a parameter, an attribute), is a view or
            requires grad, or if the result has another shape.
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
    tensor.__class__ = Pair  # torch's lazy modules change the class of their parameters in the same way
    Pair.__init__(tensor, result.sequence, result.rate, result.run, result.time, result.constant)  # type: ignore[arg-type]


def constant_pair(y: Tensor, like: Pair) -> Pair:
    """Return y [B, ...], the same at every time step, as a pair of the pass that `like` belongs to.

    The pair has spikes and a rate where `like` has them.
    """
    if like.sequence is None:
        return Pair(None, in_each_segment(y, like.run.k), like.run, constant=True)
    steps = like.currents.shape[0]
    if not like.run.rate:
        return Pair(y.expand(steps, *y.shape), None, like.run, constant=True)
    spikes = y.detach().expand(steps, *y.shape)
    rate = None if like.rate is None else in_each_segment(y, like.run.k)
    return Pair(spikes, rate, like.run, constant=True)


def in_each_segment(y: Tensor, k: int) -> Tensor:
    """Return what is constant in time, [B, ...], as the rate of each of k segments."""
    return y if k == 1 else y.expand(k, *y.shape)


def note_views(pair: Pair, sources: list[Pair]) -> None:
    """Record in pair.bases which of the sources, and of their own bases, the pair shares memory with."""
    bases = {id(p): p for source in sources if _shares(source, pair) for p in (source, *alive_bases(source))}
    pair.bases = tuple(weakref.ref(base) for base in bases.values())
    for base in bases.values():
        base.views.append(weakref.ref(pair))


def alive_bases(pair: Pair) -> list[Pair]:
    """Return the pairs that this one is a view of, as far as the network still has them."""
    return [base for base in (ref() for ref in pair.bases) if base is not None]


def _shares(pair: Pair, result: Pair) -> bool:
    return pair is not result and bool(_memories(pair) & _memories(result))


def _memories(pair: Pair) -> set[int]:
    return {_memory(x) for x in (pair.rate, pair.sequence) if isinstance(x, Tensor)}


def _memory(x: Tensor) -> int:
    return x.untyped_storage().data_ptr() if x.device.type != "meta" else id(x)
