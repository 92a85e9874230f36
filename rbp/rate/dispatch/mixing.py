"""Whether a call, in a network that shows its time axis, leaves the time steps apart.

A function of a sequence [T, B, ...], or of one folded into the batch [T*B, ...], may keep every size and mix
the steps nonetheless: a cumulative sum over the first axis, a transposition of T and B where they are equal,
two folded batches one behind the other. So each form is tried once, on sequences that are t at step t.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

_known: dict[Any, bool] = {}


def keeps_steps_apart(
    call: Callable, on_one_step: Callable, form: Any, likes: list[Tensor], steps: int
) -> bool:
    """Whether each step of call's result is on_one_step of that step of its arguments.

    call: a function affine in its tensors, which have the likes' shapes, [T, B, ...] or [T*B, ...];
    on_one_step: the same, of one step's. form: what tells this call from others; None: not to be remembered.
    """
    key = None if form is None else (form, steps, *((x.shape, x.dtype, x.device) for x in likes))
    if key in _known:
        return _known[key]
    with torch.no_grad():
        apart = _tried(call, on_one_step, likes, steps)
    if key is not None:
        _known[key] = apart
    return apart


def _tried(call: Callable, on_one_step: Callable, likes: list[Tensor], steps: int) -> bool:
    """At step t the result must be the result for zeros and t times its difference from that for ones."""
    try:
        zero, one = (
            tree_leaves(on_one_step(*(x.new_full((len(x) // steps, *x.shape[1:]), value) for x in likes)))
            for value in (0.0, 1.0)
        )
        found = tree_leaves(call(*(_numbered(x, steps) for x in likes)))
    except (RuntimeError, IndexError):  # sizes that do not go together
        return False
    if len(found) != len(zero):
        return False
    return all(_is_affine(y, a, b, steps) for y, a, b in zip(found, zero, one, strict=True))


def _is_affine(y: Tensor, zero: Tensor, one: Tensor, steps: int) -> bool:
    if y.dim() == 0 or y.shape != (steps * len(zero), *zero.shape[1:]):
        return False
    by_step = y.unflatten(0, (steps, -1))
    t = torch.arange(steps, dtype=y.dtype, device=y.device).view(-1, *(1,) * zero.dim())
    return torch.allclose(by_step, zero + t * (one - zero), rtol=1e-2, atol=1e-3)


def _numbered(like: Tensor, steps: int) -> Tensor:
    """A sequence of this shape that is t at step t."""
    t = torch.arange(steps, dtype=like.dtype, device=like.device)
    return t.repeat_interleave(len(like) // steps).view(-1, *(1,) * (like.dim() - 1)).expand(like.shape)
