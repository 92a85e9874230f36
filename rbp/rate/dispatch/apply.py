"""Apply a torch function to pairs: to the spikes of every time step, and to the rate.

`Pair.__torch_function__` ends up in `apply`, which decides how a function acts on a pair: as a query about
shape or dtype, as a layer with a rule, as a change in place, or on spikes and rate alike. The last needs a
function that commutes with the time mean, or a product of two pairs (rbp.rate.dispatch.tables).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map

from rbp.rate.dispatch import in_place, seen_time, tables
from rbp.rate.dispatch.call import Call
from rbp.rate.dispatch.carry import by_rule
from rbp.rate.dispatch.functional import AS_LAYER, DROPOUTS
from rbp.rate.dispatch.join import join, stack_steps
from rbp.rate.dispatch.pair import Pair
from rbp.rate.dispatch.rates import on_each_segment
from rbp.rate.errors import NoRuleError
from rbp.rate.memory.chunking import held_if_long
from rbp.rate.memory.currents import Currents, Term
from rbp.rate.memory.draws import at_each_step
from rbp.rate.memory.folding import fold_time
from rbp.rate.memory.lazy import Lazy
from rbp.rate.memory.traces import Trace, is_constant
from rbp.rate.rules.base import Exact


def apply(func: Callable, args: tuple, kwargs: dict) -> Any:
    """Apply a torch function that has pairs among its arguments.

    Args:
        func: the function, as `__torch_function__` receives it.
        args: its positional arguments; pairs may also be items of a list or tuple.
        kwargs: its keyword arguments.

    Returns:
        The function's result with a pair for every tensor that varies over time; plain numbers, sizes and
        tensors for queries.

    Raises:
        NoRuleError: in rate mode, for a function that has no rule and does not commute with the time mean;
            in BPTT, for one whose results differ in shape, or are numbers that differ, between time steps;
            in either mode, for a pair that `Pair.check` refuses and a change in place that other references
            would not see.
    """
    if getattr(func, "__name__", "") == "__get__":
        return _property(func.__self__.__name__, args[0])  # type: ignore[attr-defined]
    if isinstance(func, torch._ops.OpOverload) and func.namespace == "prims":  # below autograd
        raise NoRuleError(
            "a function in C++ would lose the gradient: call it in a layer of its own (nn.Module)"
        )
    if func is torch.where and len(args) + len(kwargs) == 1:
        return apply(torch.nonzero, args, {**kwargs, "as_tuple": True})
    call = Call(func, args, kwargs)
    first = call.pairs[0]
    if tables.asks(func, args, kwargs):
        return func(first.template, *args[1:], **kwargs)
    if func in tables.ON_GRAPH:
        return func(first.carries, *args[1:], **kwargs)
    for pair in call.pairs:
        pair.check()
    if func is Tensor.__setitem__:
        return in_place.write(call, *args)
    if (plain := tables.out_of_place(func)) is not None:
        return in_place.take_over(args[0], apply(plain, args, kwargs))
    if tables.only_in_place(func):
        raise NoRuleError(
            f"{tables.name_of(func)} changes a tensor in place, and has no other form: write it anew"
        )
    if func in tables.FRESH:
        return _fresh(func, first, args, kwargs)
    if func in AS_LAYER and call.of_one and (first.run.rate or func in DROPOUTS):
        rule, layer = AS_LAYER[func]
        return by_rule(rule, layer(*args[1:], **kwargs), first, func)
    return _by_kind(call, first)


Pair.apply = apply


def _by_kind(call: Call, first: Pair) -> Any:
    if first.time is not None:
        return _seeing_time(call)
    if not first.run.rate:
        return _on_both(call)
    if all(pair.constant for pair in call.pairs):
        return _constant(call, first)
    if call.func in tables.SUM_OF_TWO and _stays_open(call):
        return _open_sum(*call.pairs)
    call = _with_plain_constants(call)
    _check(call)
    return _on_both(call)


def _seeing_time(call: Call) -> Any:
    call = seen_time.with_pairs_for_sequences(call)
    if (taken := seen_time.taken_away(call)) is not None:
        return taken
    _check(call)
    if call.func in tables.SUM_OF_TWO and _stays_open(call):
        return _open_sum(*call.pairs)
    return seen_time.on_both(call)


def _with_plain_constants(call: Call) -> Call:
    """Return the call with every pair that is constant in time replaced by its value, a plain tensor."""
    if call.func is tables.set_items:
        return call  # the target must stay a pair: the values written to it may vary over time
    for place, pair in zip(call.places, call.pairs, strict=True):
        if pair.constant:
            call = call.replacing(place, pair.value)
    return call


def _property(name: str, pair: Pair) -> Any:
    if name in tables.PROPERTIES:
        return apply(tables.PROPERTIES[name], (pair,), {})
    value = getattr(pair.template, name)
    if isinstance(value, Tensor):
        raise NoRuleError(f"the tensor's property {name} is not known to commute with the time mean")
    return value


def _fresh(func: Callable, like: Pair, args: tuple, kwargs: dict) -> Any:
    """Call zeros_like or a similar function; the result is a pair if the network may write spikes to it."""
    template = like.template
    y = func(template, *args[1:], **kwargs)
    if like.time is not None or kwargs.get("requires_grad"):
        return y
    return in_place.constant_pair(y, like)


def _constant(call: Call, first: Pair) -> Any:
    """Apply any function to pairs that are constant in time.

    It need not commute with the time mean: the mean of its result is the function of the values, and its
    gradient is the ordinary one.
    """
    with torch.no_grad() if first.rate is None else nullcontext():
        y = call(*(pair.value for pair in call.pairs))
    return tree_map(lambda leaf: _as_constant(leaf, first, call), y)


def _as_constant(y: Any, first: Pair, call: Call) -> Any:
    if not isinstance(y, Tensor):
        return y
    pair = in_place.constant_pair(y, first)
    in_place.note_views(pair, call.pairs)
    return pair


def _check(call: Call) -> None:
    pair_is_first = bool(call.args) and isinstance(call.args[0], Pair)
    if call.func in tables.CASTS and not _keeps_fractions(call):
        raise NoRuleError(
            f"{tables.name_of(call.func)} an integer or boolean type does not commute with the time mean"
        )
    if call.func in tables.CHOICES and isinstance(_condition(call), Pair):
        raise NoRuleError(
            "where, with a spiking tensor as its condition, does not commute with the time mean"
        )
    if tables.commutes(call.func, call.kwargs, len(call.pairs), pair_is_first):
        return
    if call.func in tables.PRODUCTS and len(call.pairs) == 2:
        return
    name = tables.name_of(call.func)
    of = f" of {len(call.pairs)} spiking tensors" if len(call.pairs) > 1 else ""
    raise NoRuleError(f"{name}{of} does not commute with the time mean")


def _keeps_fractions(call: Call) -> bool:
    """Whether a cast is to a type that can hold a rate."""
    return call(*(pair.template.new_empty((0,) * pair.dim()) for pair in call.pairs)).is_floating_point()


def _condition(call: Call) -> Any:
    """The condition of torch.where(condition, a, b) or a.where(condition, b)."""
    place = 1 if call.func is Tensor.where else 0
    return call.args[place] if len(call.args) > place else call.kwargs.get("condition")


def _stays_open(call: Call) -> bool:
    """Whether the call is a sum of two pairs that can stay a formula, as one of their sequences is one."""
    pairs = call.pairs
    if call.kwargs or not len(pairs) == len(call.args) == 2:
        return False
    if any(p.rate is None or p.sequence is None for p in pairs):
        return False
    first = pairs[0]
    if first.time != pairs[1].time or (first.time is not None and first.rate.shape[0] != first.run.k):  # type: ignore[union-attr]
        return False
    return pairs[0].shape == pairs[1].shape and any(isinstance(pair.sequence, Currents) for pair in pairs)


def _open_sum(a: Pair, b: Pair) -> Pair:
    """Add two pairs, as in a residual block, leaving the sum of their sequences to the neuron's scan."""
    assert a.rate is not None and b.rate is not None
    total = a.currents + b.currents
    return Pair(held_if_long(total), a.rate + b.rate, a.run, a.time)


def _on_both(call: Call) -> Any:
    """Apply the call to the spikes of every step and to the rate.

    In rate mode the spikes have no graph, as the rate carries it.
    """
    first, run = call.pairs[0], call.pairs[0].run
    exact = run.rate and len(call.pairs) > 1 and call.func in tables.PRODUCTS
    trace = run.trace(call.func, Trace) if exact else None
    spikes = rate = None
    if run.chunk is not None and not exact and not all(pair.constant for pair in call.pairs):
        rate = call(*(p.rate for p in call.pairs))
        if isinstance(rate, Tensor):
            sources = [pair.currents for pair in call.pairs]  # read now: a pair may change in place
            later = Lazy(rate, run.T, run.chunk, lambda steps: _of(call, sources, steps))
            return Pair(Currents([Term(later)]), rate, run)
    if first.sequence is not None:
        with torch.no_grad() if run.rate else nullcontext():
            spikes = over_time(call, *(p.spikes for p in call.pairs))  # type: ignore[arg-type]
        if trace is not None:
            trace.value.add(spikes)
    if first.rate is not None:
        rate = on_each_segment(call, run.k, *(p.rate for p in call.pairs))
        rate = rate if trace is None else Exact.apply(rate, trace.value.take().view(rate.shape))
    return join(spikes, rate, call)


def _of(call: Call, sources: list[Currents], steps: slice) -> Tensor:
    """Return some steps of a call's result."""
    return over_time(call, *(currents.at(steps).written_out() for currents in sources))


def over_time(call: Call, *seqs: Tensor) -> Any:
    """Apply a call written for one step to every step of some sequences.

    Sequences that are constant in time are computed for one step only, and the result is expanded.

    Args:
        call: the call, with places for as many tensors [B, ...] as there are sequences.
        seqs: each [T, B, ...].

    Returns:
        The call's result with every tensor as [T, B, ...]. Anything but a tensor is returned as it is.

    Raises:
        NoRuleError: if results differ in shape, or are numbers that differ, between time steps.
    """
    if any(isinstance(leaf, torch.memory_format) for leaf in call.leaves):  # refers to the axes of one step
        return fold_time(call, seqs[0])
    if call.func is F.batch_norm:  # T enters its unbiased running variance, even for a constant sequence
        return call(seqs[0].flatten(0, 1)).unflatten(0, seqs[0].shape[:2])
    if all(is_constant(s) for s in seqs):
        steps = seqs[0].shape[0]
        return tree_map(lambda y: _expanded(y, steps), call(*(s[0] for s in seqs)))
    if tables.commutes(call.func, call.kwargs, len(seqs), True) or call.func in tables.PRODUCTS:
        return torch.vmap(call)(*seqs)
    if call.func in AS_LAYER and call.of_one:
        return fold_time(call, seqs[0])
    steps_out = at_each_step(lambda step: call(*step), list(zip(*seqs, strict=True)), seqs[0].device)
    return stack_steps(tables.name_of(call.func), steps_out)


def _expanded(y: Any, steps: int) -> Any:
    return y.expand(steps, *y.shape) if isinstance(y, Tensor) else y
