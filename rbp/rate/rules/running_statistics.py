"""Running mean and variance of batch normalisation, kept as torch's own layers keep them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Draft = Callable[[Tensor], Tensor]


@torch.no_grad()
def update_running(
    layer: Any, mean: Tensor, var: Tensor, n: int | Tensor, of: Draft = lambda buffer: buffer
) -> None:
    """Update a layer's running statistics as torch does, if it tracks them and is in training mode.

    Args:
        layer: The batch normalisation layer.
        mean: Mean of the batch, [C].
        var: Biased variance of the batch, [C]; the running variance is unbiased.
        n: Number of values per channel.
        of: Maps a buffer to the tensor to write to instead; by default the buffer itself.
    """
    if not layer.training or not layer.track_running_stats or layer.running_mean is None:
        return
    momentum = layer.momentum
    if layer.num_batches_tracked is not None:
        batches = of(layer.num_batches_tracked).add_(1)
        if momentum is None:  # cumulative average; kept a tensor to avoid a device sync
            momentum = batches.to(layer.running_mean.dtype).reciprocal()
    variance = var * _correction(n)
    of(layer.running_mean).lerp_(mean.to(layer.running_mean.dtype), momentum)
    of(layer.running_var).lerp_(variance.to(layer.running_var.dtype), momentum)


def _correction(n: int | Tensor) -> float | Tensor:
    """Return the factor n/(n - 1) that makes a biased variance over n values unbiased."""
    if isinstance(n, Tensor):  # kept a tensor to avoid a device sync
        n = n.double()
        return n / (n - 1).clamp(min=1)
    return n / max(n - 1, 1)
