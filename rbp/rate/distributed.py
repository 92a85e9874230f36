"""Several processes, on any device."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel


def data_parallel(net: nn.Module, **settings: Any) -> DistributedDataParallel:
    """net in DistributedDataParallel (with its settings), every batch normalisation turned into
    nn.SyncBatchNorm.

    The wrapper is made first: it refuses a network that has SyncBatchNorm on a CPU, as torch's own would fail
    there. `rbp.forward` synchronises these layers by a reduction of its own, in both gradient modes;
    `wrapped(x)` alone, without rbp.forward, still needs GPUs.
    """
    wrapped = DistributedDataParallel(net, **settings)
    wrapped.module = nn.SyncBatchNorm.convert_sync_batchnorm(wrapped.module)
    return wrapped
