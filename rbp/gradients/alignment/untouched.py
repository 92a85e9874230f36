"""Leave a network and all that a pass changes as it was: buffers, gradients and random state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rbp.rate.memory.draws import random_state_kept, with_generators
from rbp.rate.network.modules import Network
from rbp.rate.neurons import compiled


@contextmanager
def untouched(net: nn.Module, device: torch.device) -> Iterator[Callable[[], None]]:
    """Restore buffers, gradients, random state and the count of kernels on exit.

    Gradients are None inside the block, until a pass adds some. Neurons are at rest before and after every
    pass in any case.

    Args:
        net: The network.
        device: Where it is.

    Yields:
        A function that restores the buffers, such as running statistics, and sets the gradients to None.
    """
    gradients = [(p, p.grad) for p in net.parameters()]
    buffers = _buffers(net)
    kernels = compiled.ran.copy()

    @torch.no_grad()
    def start_anew() -> None:
        for module, name, buffer, before in buffers:
            buffer.copy_(before)
            module._buffers[name] = buffer  # a module may have put another tensor in its place
        for parameter, _ in gradients:
            parameter.grad = None

    with with_generators(Network(net).generators), random_state_kept(device):
        try:
            start_anew()
            yield start_anew
        finally:
            start_anew()
            for parameter, gradient in gradients:
                parameter.grad = gradient
            compiled.ran.clear()
            compiled.ran.update(kernels)


def _buffers(net: nn.Module) -> list[tuple[nn.Module, str, Tensor, Tensor]]:
    """Return the module, name, tensor and a copy of every buffer."""
    return [
        (module, name, buffer, buffer.detach().clone())
        for module in net.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
