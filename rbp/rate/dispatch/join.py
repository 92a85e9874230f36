"""Combine a call's results on the spikes and on the rates into pairs."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from rbp.rate.dispatch.call import Call
from rbp.rate.dispatch.in_place import note_views
from rbp.rate.dispatch.pair import Pair, TimeAxis


def join(spikes: Any, rate: Any, call: Call, times: list[TimeAxis] | None = None) -> Any:
    """Return one pair for each tensor of a call's result, in the nested structure of the result.

    Args:
        spikes: the result on the spikes, None if there are none.
        rate: the result on the rates, None if there are none.
        call: the call; its first pair names the pass.
        times: where each result has its time axis; None if the network does not see time.

    Returns:
        The pairs; a result without tensors, such as a size or a flag, is returned as it is.
    """
    like = call.pairs[0]
    some, spec = tree_flatten(rate if spikes is None else spikes)
    if not all(isinstance(leaf, Tensor) for leaf in some):
        return rate if spikes is None else spikes
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
