"""Pairs from a call's results on spikes and on rates."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from rbp.rate.dispatch.call import Call
from rbp.rate.dispatch.in_place import note_views
from rbp.rate.dispatch.pair import Pair, TimeAxis


def join(spikes: Any, rate: Any, call: Call, times: list[TimeAxis] | None = None) -> Any:
    """One pair for each tensor of the results; lists and tuples keep their form."""
    like = call.pairs[0]
    some, spec = tree_flatten(rate if spikes is None else spikes)
    if not all(isinstance(leaf, Tensor) for leaf in some):
        return rate if spikes is None else spikes  # a size or a flag, not a tensor
    nothing = [None] * len(some)
    all_spikes = nothing if spikes is None else some
    all_rates = nothing if rate is None else tree_flatten(rate)[0]
    constant = all(pair.constant for pair in call.pairs)
    pairs = [
        Pair(s, r, like.run, time, constant)
        for s, r, time in zip(all_spikes, all_rates, times or nothing, strict=True)
    ]
    for pair in pairs:
        note_views(pair, call.pairs)
    return tree_unflatten(pairs, spec)
