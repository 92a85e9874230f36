"""Compact storage for what layers keep for the backward pass.

The rate of a binary neuron takes one of T + 1 values, so the spike count stores it exactly, in one byte up to
T = 255. A float32 eligibility is rounded to the upper three of its four bytes, a relative error of at most
2^-16. (Two bytes and one scale per tensor would also be possible, with errors of up to 1e-4 in a gradient.)
Convolution, normalisation and neuron then keep 1 + 4 + 3 bytes per element, where they keep 4 + 4 with a
ReLU. Float64 is stored as it is, exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rbp.rate.memory.segments import Segments


def pack(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round each float32 of x to its upper three bytes.

    Args:
        x: any shape, its elements dense in memory.

    Returns:
        The upper two bytes of each element as int16 in the shape and strides of x, and the third bytes as
        uint8 [x.numel()] in memory order. For another dtype, x itself and an empty tensor.
    """
    if x.dtype != torch.float32:
        return x, x.new_empty(0)
    flat = (_in_memory_order(x.detach()).view(torch.int32) + 128).view(torch.float32)  # rounds
    upper = torch.empty_like(x, dtype=torch.int16)
    _in_memory_order(upper).copy_(flat.view(torch.int16)[1::2])
    return upper, flat.view(torch.uint8)[1::4].clone()


def _in_memory_order(x: Tensor) -> Tensor:
    """View x, which must be dense in memory, as one axis in memory order, whatever its strides."""
    return x.as_strided((x.numel(),), (1,))


def unpack(upper: Tensor, third: Tensor) -> Tensor:
    """Undo `pack`; the fourth byte of each float32 is zero."""
    if upper.dtype != torch.int16:
        return upper
    flat = torch.zeros(upper.numel(), dtype=torch.float32, device=upper.device)
    flat.view(torch.int16)[1::2] = _in_memory_order(upper)
    flat.view(torch.uint8)[1::4] = third
    return flat.as_strided(upper.shape, upper.stride())


def pack_counts(spikes: Tensor, steps: int) -> Tensor | None:
    """Return spike counts as uint8, or None if `steps` exceeds 255 and a count might not fit."""
    return spikes.to(torch.uint8) if steps <= 255 else None


def pack_segment_counts(value: Tensor, segments: Segments) -> Tensor | None:
    """Return spike counts as uint8 from the rates value [k*B, ...], or None if segments differ in length."""
    if not segments.even:
        return None
    return pack_counts((value * segments.lengths[0]).round(), segments.lengths[0])


def with_counts(rate: Tensor, counts: Tensor | None) -> Tensor:
    """Attach spike counts (or None) to a rate, for the next layer to keep in place of it; return the rate."""
    rate.spike_counts = counts  # type: ignore[attr-defined]
    return rate


def counts_of(rate: Tensor) -> Tensor | None:
    """Return the counts attached to a rate, or None; the result of a torch function on a rate has none."""
    return getattr(rate, "spike_counts", None)


def as_kept(kept: Tensor, dtype: torch.dtype, steps: int) -> tuple[Tensor, float]:
    """Return a tensor of the given dtype and a factor whose product is the rate.

    Multiplying the result of a convolution or product by the factor is less work than scaling the counts
    first, and bfloat16 represents counts up to 255 exactly. In float16 the product might overflow, so there
    the counts are scaled first, and the factor is 1.

    Args:
        kept: the rate [B, ...], or its spike counts as uint8.
        dtype: the floating-point dtype to compute in.
        steps: T.
    """
    if kept.dtype != torch.uint8:
        return kept.to(dtype), 1.0
    share = 1.0 / steps
    return (kept.to(dtype) * share, 1.0) if dtype == torch.float16 else (kept.to(dtype), share)
