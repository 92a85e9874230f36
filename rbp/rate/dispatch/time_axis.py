"""Find the time axis in the result of a call, in a network that handles time itself.

Sizes do not tell where time is. A function of a sequence [T, B, ...], or of one folded into the batch,
[T*B, ...], can keep every size and still move or mix the steps: a transpose of T and B where they are equal,
a cumulative sum over time, the concatenation of two folded batches. So each form of a call is tried once, on
sequences whose value at step t is t. As the call is affine, its result at step t must be
zero + t*(one - zero), where zero and one are its results on one step of zeros and of ones. The axis for which
this holds is the time axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from rbp.rate.dispatch.pair import TimeAxis

MOST_KEPT = 4096
_known: dict[Any, list[TimeAxis] | None] = {}


def find_time(
    call: Callable, form: Any, likes: list[Tensor], times: list[TimeAxis], steps: int, reorders: bool
) -> list[TimeAxis] | None:
    """Return the time axis of each tensor in a call's result.

    Args:
        call: a function that is affine in its tensors, taken jointly.
        form: a hashable key of this form of call, under which the answer is cached; None not to cache it.
        likes: tensors of the shapes, dtypes and devices that it is called with, each with a time axis.
        times: the time axes of these tensors.
        steps: T.
        reorders: whether the call only moves or repeats elements, with sizes that contain T among its
            arguments. It is then not tried on a single step.

    Returns:
        One time axis per tensor; None if the call does not keep the steps apart.
    """
    key = (form, steps, *((x.shape, x.dtype, x.device, time) for x, time in zip(likes, times, strict=True)))
    if form is not None and key in _known:
        return _known[key]
    with torch.no_grad():
        found = _tried(call, likes, times, steps, reorders)
    if form is not None:
        if len(_known) > MOST_KEPT:  # as with a factor that changes from call to call
            _known.clear()
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
    except (RuntimeError, IndexError):  # not possible with these sizes, or with one step
        return None
    if not len(ys) == len(zeros) == len(ones):
        return None
    found = [_place(y, zero, one, times[0], steps) for y, zero, one in zip(ys, zeros, ones, strict=True)]
    return None if any(time is None for time in found) else found  # type: ignore[return-value]


def numbered(like: Tensor, time: TimeAxis, steps: int) -> Tensor:
    """Return a sequence in the shape of `like` whose value at step t is t."""
    t = torch.arange(like.shape[time.dim], device=like.device) // time.inner % steps
    return t.to(like.dtype).view(-1, *(1,) * (like.dim() - time.dim - 1)).expand(like.shape).clone()


def _of_one_step(like: Tensor, time: TimeAxis, steps: int) -> list[int]:
    sizes = list(like.shape)
    sizes[time.dim] //= steps
    return sizes


def _place(
    y: Tensor, zero: Tensor | None, one: Tensor | None, before: TimeAxis, steps: int
) -> TimeAxis | None:
    """Return the time axis for which y is zero + t*(one - zero) at step t, or t if those are None.

    None if there is no such axis.
    """
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
    """Return the result of one step repeated over T steps, with the given time axis."""
    dim, inner = time
    parts = x.unflatten(dim, (-1, inner)).unsqueeze(dim + 1)
    return parts.expand(*parts.shape[: dim + 1], steps, *parts.shape[dim + 2 :]).flatten(dim, dim + 2)
