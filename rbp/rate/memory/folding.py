"""Fold time into the batch, to apply a function of a batch [B, ...] to all time steps at once."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

from rbp.rate.memory.traces import is_constant


def fold_time(f: Any, x_seq: Tensor) -> Any:
    """Apply f, a function of a batch, to x_seq as one batch of T*B.

    If x_seq is constant in time, f is applied to one step only and the result is expanded.

    Args:
        f: maps a batch [N, ...] to one or more tensors [N, ...], each element independently of the others.
        x_seq: [T, B, ...].

    Returns:
        The result of f with every tensor as [T, B, ...].
    """
    if is_constant(x_seq):
        return tree_map(lambda y: y.expand(x_seq.shape[0], *y.shape), f(x_seq[0]))
    return tree_map(lambda y: y.unflatten(0, x_seq.shape[:2]), f(x_seq.flatten(0, 1)))
