"""Combine a call's results: those of single steps into sequences, those on spikes and rates into pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from rbp.rate.dispatch.call import Call
from rbp.rate.dispatch.in_place import note_views
from rbp.rate.dispatch.pair import Pair, TimeAxis
from rbp.rate.errors import NoRuleError


def join(spikes: Any, rate: Any, call: Call, times: list[TimeAxis] | None = None) -> Any:
    """Return one pair for each tensor of a call's result, in the nested structure of the result.

    Args:
        spikes: the result on the spikes, None if there are none.
        rate: the result on the rates, None if there are none.
        call: the call; its first pair names the pass.
        times: where each result has its time axis; None if the network does not see time.

    Returns:
        The pairs; anything but a tensor, such as a size or a flag, is returned as it is.
    """
    like = call.pairs[0]
    some, spec = tree_flatten(rate if spikes is None else spikes)
    nothing = [None] * len(some)
    all_spikes = nothing if spikes is None else some
    all_rates = nothing if rate is None else tree_flatten(rate)[0]
    constant = all(pair.constant for pair in call.pairs)
    joined = [
        Pair(s, r, like.run, time, constant) if isinstance(leaf, Tensor) else leaf
        for leaf, s, r, time in zip(some, all_spikes, all_rates, times or nothing, strict=True)
    ]
    for pair in joined:
        if isinstance(pair, Pair):
            note_views(pair, call.pairs)
    return tree_unflatten(joined, spec)


def stack_steps(name: str, results: Sequence[Any]) -> Any:
    """Return the results of all steps as one, with every tensor [B, ...] as [T, B, ...].

    Args:
        name: what computed them, for the error messages.
        results: one for each step, all of the same nested structure.

    Raises:
        NoRuleError: if tensors differ in shape, or anything else is not the same at every step.
    """
    return tree_map(lambda *leaves: _stacked(name, leaves), *results)


def _stacked(name: str, leaves: tuple) -> Any:
    first = leaves[0]
    if not isinstance(first, Tensor):
        if any(isinstance(leaf, numpy.ndarray) or leaf != first for leaf in tree_leaves(leaves)):
            raise NoRuleError(
                f"{name} answers with numbers that differ from step to step, for a branch or a sum of the "
                "network's own: use step_mode='s'"
            )
        return first
    if any(leaf.shape != first.shape for leaf in leaves):
        raise NoRuleError(f"{name} has results of different shapes at different steps: use step_mode='s'")
    return torch.stack(leaves)
