"""Where time is in the result of a call, in a network that shows it.

A function of a sequence [T, B, ...], or of one folded into the batch [T*B, ...], may keep every size and move
or mix the steps nonetheless: a transposition of T and B where they are equal, a cumulative sum over time, two
folded batches one behind the other. So each form of a call is tried once, on sequences that are t at step t:
where its result is what one step's zeros and ones say, t times, is where time went.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from rbp.rate.dispatch.pair import TimeAxis

_known: dict[Any, list[TimeAxis] | None] = {}


def find_time(
    call: Callable, form: Any, likes: list[Tensor], times: list[TimeAxis], steps: int, reorders: bool
) -> list[TimeAxis] | None:
    """Where the tensors of call's result show time; None where it does not leave the steps apart.

    call: a function affine in its tensors, which have the likes' shapes and show time at `times`; form: what
    tells this call from others, None: not to be remembered. reorders: it only gives each number a place, and
    names sizes that hold T.
    """
    key = (form, steps, *((x.shape, x.dtype, x.device, time) for x, time in zip(likes, times, strict=True)))
    if form is not None and key in _known:
        return _known[key]
    with torch.no_grad():
        found = _tried(call, likes, times, steps, reorders)
    if form is not None:
        _known[key] = found
    return found


def _tried(
    call: Callable, likes: list[Tensor], times: list[TimeAxis], steps: int, reorders: bool
) -> list[TimeAxis] | None:
    pairs = list(zip(likes, times, strict=True))
    try:
        ys = tree_leaves(call(*(numbered(x, time, steps) for x, time in pairs)))
        ones = [None] * len(ys)
        zeros = list(ones)
        if not reorders:
            zeros, ones = (
                tree_leaves(call(*(x.new_full(_of_one_step(x, t, steps), value) for x, t in pairs)))
                for value in (0.0, 1.0)
            )
    except (RuntimeError, IndexError):  # sizes that do not go together
        return None
    if not len(ys) == len(zeros) == len(ones):
        return None
    found = [_place(y, zero, one, times[0], steps) for y, zero, one in zip(ys, zeros, ones, strict=True)]
    return None if any(time is None for time in found) else found  # type: ignore[return-value]


def numbered(like: Tensor, time: TimeAxis, steps: int) -> Tensor:
    """A sequence of this shape that is t at step t."""
    t = torch.arange(like.shape[time.dim], device=like.device) // time.inner % steps
    return t.to(like.dtype).view(-1, *(1,) * (like.dim() - time.dim - 1)).expand(like.shape).clone()


def _of_one_step(like: Tensor, time: TimeAxis, steps: int) -> list[int]:
    sizes = list(like.shape)
    sizes[time.dim] //= steps
    return sizes


def _place(
    y: Tensor, zero: Tensor | None, one: Tensor | None, before: TimeAxis, steps: int
) -> TimeAxis | None:
    """The time axis of y, which is zero + t*(one - zero) at step t (without them: t); None if none fits."""
    for dim in _axes(y, zero, before, steps):
        size = y.shape[dim] // steps
        for inner in dict.fromkeys((before.inner, size, 1, *_divisors(size))):
            if size % inner == 0 and _fits(y, zero, one, TimeAxis(dim, inner), steps):
                return TimeAxis(dim, inner)
    return None


def _axes(y: Tensor, zero: Tensor | None, before: TimeAxis, steps: int) -> list[int]:
    if zero is None:
        axes = [d for d in range(y.dim()) if y.shape[d] % steps == 0]
        return sorted(axes, key=lambda d: d != before.dim)
    if y.dim() != zero.dim():
        return []
    axes = [d for d in range(y.dim()) if y.shape[d] != zero.shape[d]]
    return axes if len(axes) == 1 and y.shape[axes[0]] == steps * zero.shape[axes[0]] else []


def _divisors(n: int) -> list[int]:
    return [d for d in range(2, n) if n % d == 0]


def _fits(y: Tensor, zero: Tensor | None, one: Tensor | None, time: TimeAxis, steps: int) -> bool:
    t = numbered(y, time, steps)
    if zero is None or one is None:
        return bool((y == t).all())
    low, high = (_over_time(x, time, steps) for x in (zero, one))
    return torch.allclose(y, low + t * (high - low), rtol=1e-2, atol=1e-3)


def _over_time(x: Tensor, time: TimeAxis, steps: int) -> Tensor:
    """One step's result, seen at every step."""
    dim, inner = time
    parts = x.unflatten(dim, (-1, inner)).unsqueeze(dim + 1)
    return parts.expand(*parts.shape[: dim + 1], steps, *parts.shape[dim + 2 :]).flatten(dim, dim + 2)
