"""Mean and variance per channel of a sequence of currents, in one piece or in chunks of time steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rbp.rate.memory.currents import Currents
from rbp.rate.memory.lazy import Lazy

aten = torch.ops.aten
Moments = tuple[Tensor, Tensor, int]  # mean [C], biased variance [C], number of values per channel


def as_sequence(currents: Currents) -> Any:
    """Return the currents as one sequence: a tensor, or a Lazy if not all steps are in memory."""
    if currents.alone is not None:
        return currents.alone
    chunks = [term.x_seq.chunk for term in currents.terms if isinstance(term.x_seq, Lazy)]
    if not chunks:
        return currents.written_out()
    steps = currents.shape[0]
    return Lazy(currents.template, steps, min(chunks), lambda part: currents.at(part).written_out())


def moments_of(x: Tensor) -> Moments:
    """Return mean [C], biased variance [C] and number of values per channel of x [N, C, ...]."""
    wide = x if x.is_cuda else in_float32(x)  # CUDA's kernel accumulates in float32 anyway
    if x.is_meta:  # shapes alone, in a trial step; the kernel has no version for them
        return wide.new_empty(x.shape[1]), wide.new_empty(x.shape[1]), x.numel() // x.shape[1]
    return *aten.batch_norm_update_stats(wide, None, None, 0.0), x.numel() // x.shape[1]


def pooled(means: Tensor, variances: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Combine the means and variances of groups of values into those of their union.

    Args:
        means: Mean of each group, [groups, C].
        variances: Biased variance of each group, [groups, C].
        shares: Each group's share of the values, [groups, 1] or [groups, C], summing to 1.

    Returns:
        Mean and biased variance of the union, [C] each.
    """
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0)


def moments_over_time(currents: Currents) -> Moments:
    """Return the moments over time and batch; the sequence may come in chunks."""
    if currents.constant:
        mean, var, n = moments_of(currents.template)
        return mean, var, n * currents.shape[0]
    parts = [moments_of(part.written_out().flatten(0, 1)) for part in currents.parts()]
    if len(parts) == 1:
        return parts[0]
    means, variances = (torch.stack([part[i] for part in parts]) for i in (0, 1))  # type: ignore[misc]
    counts = torch.cat([means.new_full((1, 1), part[2]) for part in parts])  # avoids a copy from the CPU
    n = sum(part[2] for part in parts)
    return *pooled(means, variances, counts / n), n


def in_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
