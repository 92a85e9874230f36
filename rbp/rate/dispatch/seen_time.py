"""Apply a torch function to pairs with a visible time axis, in a network that handles time itself.

The function is applied as written to the spikes, and to the rate, which has one step in place of T. This is
right only if the function keeps the time steps apart, which rbp.rate.dispatch.time_axis finds out. Time means
and sums over time, and the selection of a step, return plain tensors instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from rbp.rate.dispatch import tables
from rbp.rate.dispatch.call import Call
from rbp.rate.dispatch.join import join
from rbp.rate.dispatch.pair import Pair, TimeAxis
from rbp.rate.dispatch.rates import steps_first, steps_in_place
from rbp.rate.dispatch.time_axis import find_time
from rbp.rate.errors import NoRuleError
from rbp.rate.memory.traces import Trace
from rbp.rate.rules.base import Exact


def on_both(call: Call) -> Any:
    """Apply a call to spikes and rate; the resulting pairs have time where the call has moved it.

    Raises:
        NoRuleError: if the call mixes, cuts or reorders the time steps.
    """
    first = call.pairs[0]
    exact = len(call.pairs) > 1 and call.func in tables.PRODUCTS
    trace = first.run.trace(call.func, Trace) if exact else None
    seqs = [pair.spikes for pair in call.pairs]
    reorders = call.func in tables.SIZED
    times = _times(call, seqs, reorders)  # type: ignore[arg-type]
    with torch.no_grad():
        spikes = call(*seqs)
    if reorders:
        rate = _resized(call.func, first, spikes, times[0])
    else:
        rate = call(*(pair.rate for pair in call.pairs))
    if trace is not None:
        trace.value.add(steps_first(spikes, times[0], first.run.visible_steps))
        value = _in_place_of_steps(torch.stack(trace.value.take_each()), times[0], rate)
        rate = Exact.apply(rate, value.view(rate.shape))
    return join(spikes, rate, call, times)


def _times(call: Call, seqs: list[Tensor], reorders: bool) -> list[TimeAxis]:
    first = call.pairs[0]
    chooses = call.func in tables.CHOOSING and any(
        isinstance(leaf, Tensor) for leaf in tree_leaves(call.args[1:])
    )
    trial = call if chooses else call.with_ones
    places = [pair.time for pair in call.pairs]
    product = len(call.pairs) > 1 and call.func in tables.PRODUCTS
    if product:  # find_time needs an affine function: a product is affine in each factor separately
        found = [_of_one(trial, seqs, places, i, first.run.visible_steps) for i in range(len(seqs))]  # type: ignore[arg-type]
        times = found[0] if all(time == found[0] for time in found) else None
    else:
        form = None if chooses else call.form
        times = find_time(trial, form, seqs, places, first.run.visible_steps, reorders)  # type: ignore[arg-type]
    if times is None:
        raise moves_time(call.func)
    return times


def _of_one(
    trial: Call, seqs: list[Tensor], places: list[TimeAxis], i: int, steps: int
) -> list[TimeAxis] | None:
    """Find the time axis of a product as a function of its i-th factor, with ones for the other factors."""

    def of_factor(x: Tensor) -> Any:
        others = [s.new_ones(_sizes_like(s, p, x, seqs[i])) for s, p in zip(seqs, places, strict=True)]
        return trial(*others[:i], x, *others[i + 1 :])

    def _sizes_like(s: Tensor, place: TimeAxis, x: Tensor, whole: Tensor) -> list[int]:
        sizes = list(s.shape)
        if x.shape != whole.shape:  # x is a single step
            sizes[place.dim] //= steps
        return sizes

    form = ("factor", i, trial.form, *((s.shape, p) for s, p in zip(seqs, places, strict=True)))
    return find_time(of_factor, form, [seqs[i]], [places[i]], steps, False)


def _resized(func: Callable, pair: Pair, spikes: Tensor, time: TimeAxis) -> Tensor:
    assert pair.rate is not None
    sizes = list(spikes.shape)
    sizes[time.dim] //= pair.run.visible_steps
    sizes[time.dim] *= pair.run.k
    return pair.rate.expand(sizes) if func in tables.EXPANDS else pair.rate.reshape(sizes)


def moves_time(func: Callable) -> NoRuleError:
    return NoRuleError(f"{tables.name_of(func)} mixes, cuts or reorders the time axis")


def taken_away(call: Call) -> Any:
    """Return the time mean, the sum over time, or the value of steps that the network itself takes.

    The result is a plain tensor (for unbind a tuple of them) with the graph of the rate: a mean has the
    gradient of the rate, a sum T times that, and the value of a step that of the rate.

    Returns:
        The result, or None for any other call.
    """
    pair = call.pairs[0]
    if pair.time is None or not call.of_one or pair.shape[pair.time.dim] != pair.run.visible_steps:
        return None
    if call.func in tables.MEANS | tables.SUMS and _reduces(call, pair.time.dim):
        y = call(_weighted(pair))
        return y * (pair.run.T / pair.run.k) if call.func in tables.SUMS else y
    if call.func in tables.UNBINDS and _axis(call, 0) % pair.dim() == pair.time.dim:
        return tuple(_one_step(pair, t) for t in range(pair.run.visible_steps))
    if (index := _index_of_a_step(call, pair)) is not None:
        at, rest = index
        y = _one_step(pair, at)
        return y if rest is None else y[rest]
    return None


def _weighted(pair: Pair) -> Tensor:
    """Return the rates of the segments, so weighted that their mean is the mean over time."""
    assert pair.rate is not None and pair.time is not None
    segments = pair.run.segments
    return pair.rate if segments.even else pair.rate * segments.weights(pair.rate, pair.time.dim) * segments.k


def _reduces(call: Call, dim: int) -> bool:
    axis = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim")
    if axis is None:
        return True
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    return len(axes) == 0 or dim in [a % call.pairs[0].dim() for a in axes]


def _axis(call: Call, default: int) -> int:
    return call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", default)


def _one_step(pair: Pair, t: int) -> Tensor:
    assert pair.rate is not None and pair.time is not None and pair.spikes is not None
    rate = pair.rate.select(pair.time.dim, pair.run.segments.of_step(t % pair.run.T))
    return pair.spikes.select(pair.time.dim, t) + (rate - rate.detach())


def _index_of_a_step(call: Call, pair: Pair) -> tuple[int, Any] | None:
    """Return the step that a call selects and the index into the remaining axes, None if it selects no step.

    The second is None if the call leaves the other axes whole.
    """
    assert pair.time is not None
    dim = pair.time.dim
    if call.func in tables.SELECTS and _axis(call, 0) % pair.dim() == dim:
        return call.args[2] if len(call.args) > 2 else call.kwargs["index"], None
    if call.func is not Tensor.__getitem__:
        return None
    index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    index = _without_ellipsis(index, pair.dim())
    if any(not isinstance(i, int | slice) for i in index) or len(index) <= dim:
        return None
    if isinstance(index[dim], slice | bool):
        return None
    rest = (*index[:dim], *index[dim + 1 :])
    return index[dim], rest if rest else None


def _without_ellipsis(index: tuple, dims: int) -> tuple:
    at = next((i for i, part in enumerate(index) if part is Ellipsis), None)
    if at is None:
        return index
    missing = dims - sum(part is not None and part is not Ellipsis for part in index)
    return (*index[:at], *(slice(None),) * missing, *index[at + 1 :])


def with_pairs_for_sequences(call: Call) -> Call:
    """Return the call with a pair in place of each plain tensor that has a time axis itself.

    A time embedding [T, 1, C] is an example. A plain tensor counts as one if, aligned with the first pair
    from the last axis, it has the same size on the pair's time axis.
    """
    first = call.pairs[0]
    if call.func not in tables.ALIGNED or first.time is None:
        return call
    for place, leaf in enumerate(call.leaves):
        if isinstance(leaf, Tensor) and not isinstance(leaf, Pair):
            dim = first.time.dim - first.dim() + leaf.dim()
            if dim >= 0 and leaf.shape[dim] == first.shape[first.time.dim]:
                call = call.replacing(place, _as_sequence(leaf, TimeAxis(dim, first.time.inner), first))
    return call


def _as_sequence(x: Tensor, time: TimeAxis, like: Pair) -> Pair:
    """Return a plain tensor with a time axis as a pair, whose rate is the time mean of the tensor."""
    parts = x.unflatten(time.dim, (-1, like.run.visible_steps, time.inner))
    rate = _segment_means(parts, time, like).flatten(time.dim, time.dim + 2)
    return Pair(x.detach(), rate, like.run, time)


def _segment_means(parts: Tensor, time: TimeAxis, like: Pair) -> Tensor:
    """Return the mean of each segment; axis time.dim + 1 of parts has the steps, and then the segments."""
    dim = time.dim + 1
    return like.run.segments.means(parts.movedim(dim, 0)).movedim(0, dim)


def _in_place_of_steps(means: Tensor, time: TimeAxis, like: Tensor) -> Tensor:
    """Return the means of k segments [k, ...], each without its time axis, in the axes of like."""
    return steps_in_place(means, time, like.shape[time.dim])
