"""Time folded into the batch, for what is written for batches."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

from rbp.rate.memory.traces import is_constant


def fold_time(f: Any, x_seq: Tensor) -> Any:
    """f, written for batches, on x_seq [T, B, ...] as one batch of T*B; once where time changes nothing."""
    if is_constant(x_seq):
        return tree_map(lambda y: y.expand(x_seq.shape[0], *y.shape), f(x_seq[0]))
    return tree_map(lambda y: y.unflatten(0, x_seq.shape[:2]), f(x_seq.flatten(0, 1)))
