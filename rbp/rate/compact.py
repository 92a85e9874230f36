"""What a layer keeps for the backward pass, in fewer bytes.

Behind a binary neuron a rate is one of T + 1 levels: the number of spikes, a byte, says it exactly. A float32
eligibility is kept in 16 bits with one scale for the tensor: the error, half a step of 1/32767 of the largest,
is seen in gradients as a few 1e-5 (relative). Other types are kept as they are: float64 stays exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LARGEST = 32767


def pack(x: Tensor) -> tuple[Tensor, Tensor]:
    """x as 16-bit whole numbers and their scale; x itself and an empty scale where it is not float32."""
    if x.dtype != torch.float32:
        return x, x.new_empty(0)
    low, high = x.aminmax()
    scale = torch.maximum(-low, high).clamp_(min=torch.finfo(torch.float32).tiny * _LARGEST) / _LARGEST
    return (x / scale).round_().to(torch.int16), scale


def unpack(x: Tensor, scale: Tensor) -> Tensor:
    """Undo pack."""
    return x.to(torch.float32).mul_(scale) if scale.numel() else x


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
