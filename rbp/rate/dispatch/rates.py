"""The rates of k segments as rules want them: one behind the other, as one batch [k*B, ...].

A pair holds the rate as the network would see it: [B, ...], or [k, B, ...] with k segments; where the network
sees the time axis, the rate has k in the place of T. For k=1 nothing is moved or copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from rbp.rate.dispatch.pair import Pair, TimeAxis
from rbp.rate.memory.packing import counts_of, with_counts


def on_each_segment(call: Callable[..., Any], k: int, *rates: Tensor | None) -> Any:
    """Apply a function of one step to the rate of each of k segments, [B, ...] or [k, B, ...]."""
    if k == 1:
        return call(*rates)
    results = [call(*(None if r is None else r[j] for r in rates)) for j in range(k)]
    return tree_map(lambda *ys: _stacked(ys), *results)


def as_batch(pair: Pair, sequence: bool, joins: bool) -> Tensor | None:
    """Return a pair's rate as [k*B, ...]. sequence and joins: as for `rbp.rate.dispatch.carry.hide`."""
    if pair.rate is None:
        return None
    k, time = pair.run.k, pair.time

    def moved(x: Tensor) -> Tensor:
        if time is None and sequence:  # one step, seen as [1, B, ...]
            return x[0] if k == 1 else x[:, 0].flatten(0, 1)
        if sequence:
            x = x.movedim(1, 0) if joins and time == TimeAxis(1, 1) else x
            return x[0] if k == 1 else x.flatten(0, 1)
        if k == 1:
            return x
        return (x if time is None else steps_first(x, time, k)).flatten(0, 1)

    return _with_counts_moved(pair.rate, moved)


def as_seen(rate: Tensor | None, like: Pair, sequence: bool) -> Tensor | None:
    """Undo `as_batch` for a layer's output; like: the layer's input."""
    if rate is None:
        return None
    k, time = like.run.k, like.time

    def moved(x: Tensor) -> Tensor:
        if k > 1:
            x = x.unflatten(0, (k, -1))
        if time is None:
            return x.unsqueeze(int(k > 1)) if sequence else x
        if sequence:
            x = x.unsqueeze(0) if k == 1 else x
            return x.movedim(0, 1) if time.dim == 1 else x
        if k == 1:
            return x
        return steps_in_place(x, time, like.shape[time.dim] // like.run.visible_steps * k)

    return _with_counts_moved(rate, moved)


def _with_counts_moved(rate: Tensor, moved: Callable[[Tensor], Tensor]) -> Tensor:
    result, counts = moved(rate), counts_of(rate)
    if result is rate:
        return rate
    return with_counts(result, None if counts is None else moved(counts))


def _stacked(leaves: tuple) -> Any:
    return torch.stack(leaves) if isinstance(leaves[0], Tensor) else leaves[0]


def steps_first(x: Tensor, time: TimeAxis, steps: int) -> Tensor:
    """Move time out of the axis that holds it, to the front.

    Args:
        x: a tensor with a visible time axis.
        time: where that is.
        steps: T, or the number of segments.

    Returns:
        [T, ...]; the axis that held time keeps 1/T of its size, which is 1 if it held time alone.
    """
    dim, inner = time
    if dim == 0 and x.shape[0] == steps * inner:
        return x.unflatten(0, (steps, inner))
    parts = x.unflatten(dim, (-1, steps, inner)).movedim(dim + 1, 0)
    return parts.flatten(dim + 1, dim + 2)


def steps_in_place(x: Tensor, time: TimeAxis, size: int) -> Tensor:
    """Undo `steps_first`; `size` is the size of the resulting axis that holds time."""
    dim, inner = time
    if dim == 0 and size == x.shape[0] * inner:
        return x.flatten(0, 1)
    return x.unflatten(dim + 1, (-1, inner)).movedim(0, dim + 1).flatten(dim, dim + 2)
