"""Data-parallel training in several processes, on any device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rbp.rate.network.patching import stand_in


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


def in_one_call(net: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return run(x), as one forward pass of the wrapper if `net` is wrapped in DistributedDataParallel.

    The wrapper prepares a backward pass at every call, so `run` may call the network more than once.
    """
    if not isinstance(net, DistributedDataParallel):
        return run(x)
    with stand_in(net, "module", _Whole(net.module, run)):
        return net(x)


class _Whole(nn.Module):
    """A whole forward pass of net as one module, with the buffers of net."""

    def __init__(self, net: nn.Module, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.run, self.named_buffers = run, net.named_buffers  # type: ignore[method-assign]

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)
