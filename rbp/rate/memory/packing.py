"""What a layer keeps for the backward pass, in fewer bytes.

Behind a binary neuron a rate is one of T + 1 levels: the number of spikes, a byte, says it exactly. A float32
eligibility is rounded to the upper three of its four bytes, an error of 2^-16 of it at most (two bytes with a
scale for the tensor would do, with errors of up to 1e-4 in a gradient). So convolution, normalisation and
neuron keep 1 + 4 + 3 bytes an element where with a ReLU they keep 4 + 4. Float64 is kept as it is, exact.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pack(x: Tensor) -> tuple[Tensor, Tensor]:
    """The upper two bytes of every float32 of x, and the third; x itself and nothing for another type."""
    if x.dtype != torch.float32:
        return x, x.new_empty(0)
    flat = (_in_memory_order(x.detach()).view(torch.int32) + 128).view(torch.float32)  # rounds
    upper = torch.empty_like(x, dtype=torch.int16)
    _in_memory_order(upper).copy_(flat.view(torch.int16)[1::2])
    return upper, flat.view(torch.uint8)[1::4].clone()


def _in_memory_order(x: Tensor) -> Tensor:
    """The numbers of x, which fill its memory without gaps, one after the other, whatever axis comes last."""
    return x.as_strided((x.numel(),), (1,))


def unpack(upper: Tensor, third: Tensor) -> Tensor:
    """Undo pack, the last byte 0."""
    if upper.dtype != torch.int16:
        return upper
    flat = torch.zeros(upper.numel(), dtype=torch.float32, device=upper.device)
    flat.view(torch.int16)[1::2] = _in_memory_order(upper)
    flat.view(torch.uint8)[1::4] = third
    return flat.as_strided(upper.shape, upper.stride())


def pack_counts(spikes: Tensor, steps: int) -> Tensor | None:
    """The number of spikes over the steps in a byte; None where it might not fit."""
    return spikes.to(torch.uint8) if steps <= 255 else None


def with_counts(rate: Tensor, counts: Tensor | None) -> Tensor:
    """The rate, with a note of the counts behind it, for the layer that it goes into next."""
    rate.spike_counts = counts  # type: ignore[attr-defined]
    return rate


def counts_of(rate: Tensor) -> Tensor | None:
    """The counts noted with a rate; None for one that came from elsewhere or was computed with."""
    return getattr(rate, "spike_counts", None)


def as_kept(kept: Tensor, dtype: torch.dtype, steps: int) -> tuple[Tensor, float]:
    """What is kept of a rate, counts or itself, and the number to multiply it by: a product with it is
    multiplied afterwards, which is less work, and in bfloat16 a count up to 255 is exact. (In float16 the
    product of counts might overflow.)"""
    if kept.dtype != torch.uint8:
        return kept.to(dtype), 1.0
    share = 1.0 / steps
    return (kept.to(dtype) * share, 1.0) if dtype == torch.float16 else (kept.to(dtype), share)
