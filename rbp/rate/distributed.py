"""Data-parallel training in several processes, on any device."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel


def data_parallel(net: nn.Module, **settings: Any) -> DistributedDataParallel:
    """Wrap net in DistributedDataParallel and convert its batch normalisation to nn.SyncBatchNorm.

    `rbp.forward` synchronises these layers with its own reduction in both gradient modes, also on a CPU.
    Calling the wrapper directly, without `rbp.forward`, uses torch's SyncBatchNorm, which needs GPUs.

    Args:
        net: Network with any batch normalisation layers.
        settings: Keyword arguments of DistributedDataParallel.

    Returns:
        The wrapped network, to be passed to `rbp.forward`.
    """
    # Wrap first: on a CPU, DistributedDataParallel refuses a network that already has SyncBatchNorm.
    wrapped = DistributedDataParallel(net, **settings)
    wrapped.module = nn.SyncBatchNorm.convert_sync_batchnorm(wrapped.module)
    return wrapped
