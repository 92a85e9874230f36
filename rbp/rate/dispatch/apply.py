"""A torch function on pairs: on the spikes of every step, and on the rate."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from rbp.rate.dispatch import tables as functions
from rbp.rate.dispatch.carry import by_rule
from rbp.rate.dispatch.functional import AS_LAYER, DROPOUTS
from rbp.rate.dispatch.mixing import keeps_steps_apart
from rbp.rate.dispatch.pair import Pair
from rbp.rate.errors import NoRuleError
from rbp.rate.memory.chunking import held_if_long
from rbp.rate.memory.currents import Currents, Term
from rbp.rate.memory.lazy import Later
from rbp.rate.memory.traces import is_constant
from rbp.rate.rules.base import Exact, fold_time


class Call:
    """A function's call, with the places of the pairs among its arguments."""

    def __init__(self, func: Callable, args: tuple, kwargs: dict) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.leaves, self.spec = tree_flatten((args, kwargs), is_leaf=lambda leaf: isinstance(leaf, Pair))
        self.places = [i for i, leaf in enumerate(self.leaves) if isinstance(leaf, Pair)]
        self.pairs: list[Pair] = [self.leaves[i] for i in self.places]

    def __call__(self, *tensors: Tensor) -> Any:
        """The function, with tensors in place of the pairs."""
        leaves = list(self.leaves)
        for i, tensor in zip(self.places, tensors, strict=True):
            leaves[i] = tensor
        args, kwargs = tree_unflatten(leaves, self.spec)
        return self.func(*args, **kwargs)

    @property
    def form(self) -> tuple | None:
        """What tells it from calls of another form; None where it has tensors among its arguments."""
        others = [leaf for i, leaf in enumerate(self.leaves) if i not in self.places]
        if any(isinstance(leaf, Tensor) for leaf in others):
            return None
        return self.func, str(self.spec), tuple(self.places), repr(others)

    @property
    def of_one(self) -> bool:
        """Whether the first argument is the only pair."""
        return len(self.pairs) == 1 and bool(self.args) and isinstance(self.args[0], Pair)


def apply(func: Callable, args: tuple, kwargs: dict) -> Any:
    """func with pairs among its arguments.

    Raises NoRuleError in rate mode for a func that has no rule and does not commute with the time mean.
    """
    call = Call(func, args, kwargs)
    first = call.pairs[0]
    if functions.asks(func, args, kwargs):
        return func(first.looks, *args[1:], **kwargs)
    for pair in call.pairs:
        pair.check()
    if (plain := functions.out_of_place(func)) is not None:
        return _in_place(args[0], apply(plain, args, kwargs))
    if func in AS_LAYER and call.of_one and (first.run.rate or func in DROPOUTS):
        rule, layer = AS_LAYER[func]
        return by_rule(rule, layer(*args[1:], **kwargs), first, first.run.trace(func)[0])
    if first.run.rate:
        _check(call)
        if func is torch.add and not kwargs and len(call.pairs) == len(args) == 2 and _stays_open(call.pairs):
            return _open_sum(*call.pairs)
    if first.shown and (mean := _over_time(call)) is not None:
        return mean
    return _on_both(call)


def _over_time(call: Call) -> Tensor | None:
    """The time mean or sum that a network takes itself of a sequence [T, B, ...]: from there on the rate, [B,
    ...], is a tensor like any other. None for other calls."""
    pair = call.pairs[0]
    if call.func not in functions.MEANS | functions.SUMS or pair.rate is None or pair.rate.shape[0] != 1:
        return None
    if not functions.over_first_axis(call.args[1:], call.kwargs):
        return None
    return pair.rate[0] if call.func in functions.MEANS else pair.rate[0] * pair.run.steps


def _in_place(target: Any, result: Any) -> Any:
    """Let every name of the pair target see the result, as with a tensor."""
    if not isinstance(target, Pair):
        raise NoRuleError("a tensor without a time axis cannot take a spiking one in place")
    target.written_to(result)
    return target


def _check(call: Call) -> None:
    pair_is_first = bool(call.args) and isinstance(call.args[0], Pair)
    if functions.commutes(call.func, call.kwargs, len(call.pairs), pair_is_first):
        return
    if call.func in functions.PRODUCTS and len(call.pairs) == 2:
        return
    name = functions.name_of(call.func)
    of = f" of {len(call.pairs)} spiking tensors" if len(call.pairs) > 1 else ""
    raise NoRuleError(f"{name}{of} does not commute with the time mean")


def _stays_open(pairs: list[Pair]) -> bool:
    """Whether the sum of two sequences, one of them a formula still, can be one as well."""
    if any(pair.rate is None or pair.given is None for pair in pairs):
        return False
    if any(pair.shown != pairs[0].shown or (pair.shown and pair.rate.shape[0] != 1) for pair in pairs):  # type: ignore[union-attr]
        return False
    a, b = (pair.looks.shape for pair in pairs)
    return a == b and any(isinstance(pair.given, Currents) for pair in pairs)


def _open_sum(a: Pair, b: Pair) -> Pair:
    """The sum of two pairs (a residual block's, on its way to a neuron), its sequence a formula."""
    assert a.rate is not None and b.rate is not None
    total = a.currents + b.currents
    return Pair(held_if_long(total), a.rate + b.rate, a.run, a.shown)


def _on_both(call: Call) -> Any:
    """On the spikes of every step, without a graph where there is a rate to carry it; and on the rate."""
    first = call.pairs[0]
    exact = first.run.rate and len(call.pairs) > 1 and call.func in functions.PRODUCTS
    trace = first.run.trace(call.func)[0] if exact else None
    spikes = rate = None
    if (run := first.run).chunk is not None and not (exact or first.shown) and _varying(call.pairs):
        rate = call(*(p.rate for p in call.pairs))  # type: ignore[arg-type]
        if isinstance(rate, Tensor):
            sources = [pair.currents for pair in call.pairs]  # as they are now: a pair may be written to
            later = Later(rate, run.steps, run.chunk, lambda steps: _of(call, sources, steps))
            return Pair(Currents([Term(later)]), rate, run)
    if first.shown and not exact:
        _check_time_axis(call)
    if first.given is not None:
        with torch.no_grad() if first.run.rate else nullcontext():
            seqs = [p.spikes for p in call.pairs]
            spikes = call(*seqs) if first.shown else over_time(call, *seqs)  # type: ignore[arg-type]
        if trace is not None:
            trace.average("value", _by_step(spikes, first))
    if first.rate is not None:
        rate = _for_one_step(call)(*(p.rate for p in call.pairs))  # type: ignore[arg-type]
        rate = rate if trace is None else Exact.apply(rate, trace.take("value"))
    return _join(spikes, rate, call)


def _varying(pairs: list[Pair]) -> bool:
    return not all(pair.currents.constant for pair in pairs)


def _of(call: Call, sources: list[Currents], steps: slice) -> Tensor:
    """Some steps of a call's result."""
    return over_time(call, *(currents.at(steps).written_out() for currents in sources))


def _by_step(spikes: Tensor, like: Pair) -> Tensor:
    return spikes.unflatten(0, (like.run.steps, -1)) if like.shown else spikes


def over_time(call: Call, *seqs: Tensor) -> Any:
    """A call written for one step, on every step of seqs [T, B, ...]; once where time changes nothing."""
    if any(isinstance(leaf, torch.memory_format) for leaf in call.leaves):  # of the axes of one step
        return fold_time(call, seqs[0])
    if call.func is F.batch_norm:  # counts the steps in its variance: no short cut
        return call(seqs[0].flatten(0, 1)).unflatten(0, seqs[0].shape[:2])
    if all(is_constant(s) for s in seqs):
        steps = seqs[0].shape[0]
        return tree_map(lambda y: _expanded(y, steps), call(*(s[0] for s in seqs)))
    if functions.commutes(call.func, call.kwargs, len(seqs), True) or call.func in functions.PRODUCTS:
        return torch.vmap(call)(*seqs)
    if call.func in AS_LAYER and call.of_one:
        return fold_time(call, seqs[0])
    steps_out = [call(*step) for step in zip(*seqs, strict=True)]
    return tree_map(lambda *ys: torch.stack(ys) if isinstance(ys[0], Tensor) else ys[0], *steps_out)


def _expanded(y: Any, steps: int) -> Any:
    return y.expand(steps, *y.shape) if isinstance(y, Tensor) else y


def _for_one_step(call: Call) -> Call:
    """The call, where it names the size T*n of the leading axis, with the n that the rate has there."""
    pair = call.pairs[0]
    if not pair.shown or not call.of_one:
        return call
    if call.func in functions.SIZED:
        sizes = call.args[1:] or tuple(call.kwargs.values())
        sizes = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
        return Call(call.func, (pair, _leading(sizes, pair.run.steps)), {})
    if call.func is Tensor.unflatten and call.args[1:2] == (0,):
        return Call(call.func, (pair, 0, _leading(tuple(call.args[2]), pair.run.steps)), {})
    return call


def _leading(sizes: tuple, steps: int) -> tuple:
    if sizes[0] == -1:
        return sizes
    if sizes[0] % steps:
        raise NoRuleError(f"a leading axis of {sizes[0]} does not hold the {steps} time steps")
    return (sizes[0] // steps, *sizes[1:])


def _check_time_axis(call: Call) -> None:
    """Raise NoRuleError where a call on sequences that show time does not leave the steps apart."""
    form = call.form
    if form is None and call.func not in functions.CHOOSING:
        return  # computes with a tensor: sizes tell
    likes = [pair.looks for pair in call.pairs]
    if not keeps_steps_apart(call, _for_one_step(call), form, likes, call.pairs[0].run.steps):
        raise _moves_time(call.func)


def _moves_time(func: Callable) -> NoRuleError:
    name = functions.name_of(func)
    return NoRuleError(f"{name} moves, mixes, cuts or takes away the time axis, which must stay the first")


def _join(spikes: Any, rate: Any, call: Call) -> Any:
    """Pairs from a call's results on spikes and on rates; lists and tuples keep their form."""
    like, func = call.pairs[0], call.func
    some, spec = tree_flatten(rate if spikes is None else spikes)
    if not all(isinstance(leaf, Tensor) for leaf in some):
        return rate if spikes is None else spikes  # a size or a flag, not a tensor
    nothing = [None] * len(some)
    all_spikes = nothing if spikes is None else some
    all_rates = nothing if rate is None else tree_flatten(rate)[0]
    pairs = [Pair(s, r, like.run, like.shown) for s, r in zip(all_spikes, all_rates, strict=True)]
    if like.shown:
        _check_time_leads(pairs, func)
    for pair in pairs:
        pair.bases = tuple(ref for p in call.pairs if _shares(p, pair) for ref in (*p.bases, weakref.ref(p)))
    return tree_unflatten(pairs, spec)


def _shares(pair: Pair, result: Pair) -> bool:
    """Whether the result is a view of the pair."""
    a, b = (p.rate if p.given is None else p.given for p in (pair, result))
    both = isinstance(a, Tensor) and isinstance(b, Tensor)
    return both and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()  # type: ignore[union-attr]


def _check_time_leads(pairs: list[Pair], func: Callable) -> None:
    for pair in pairs:
        assert pair.spikes is not None and pair.rate is not None
        lead, n = pair.spikes.shape[:1], pair.rate.shape[:1]
        if not lead or lead[0] != n[0] * pair.run.steps or pair.spikes.shape[1:] != pair.rate.shape[1:]:
            raise _moves_time(func)
