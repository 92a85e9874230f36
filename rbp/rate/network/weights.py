"""Weights that are computed whenever they are read: spectral norm, weight norm, pruning masks.

Spectral norm takes a step of its power iteration at every reading, and a pass over T steps reads a weight
more than once: for the spikes and for the rate, at every step. Here each is read once a forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from rbp.rate.network.modules import Network

HOOKS = (SpectralNorm, WeightNorm, BasePruningMethod)  # of torch's older way, forward_pre_hooks


@contextmanager
def weights_read_once(network: Network) -> Iterator[None]:
    """Compute every parametrized tensor of the network once, with its graph if the caller wants gradients.

    Torch's own hooks that compute weights run here too, and not again inside. Afterwards, also after an
    exception, both are as before.

    A weight that the pass would not read is read as well.
    """
    taken: list[tuple[nn.Module, dict[int, Any]]] = []
    with parametrize.cached():
        try:
            for module in network.computing_weights:
                _read(module)
                taken.append((module, dict(module._forward_pre_hooks)))
                _run_hooks(module)
            yield
        finally:
            for module, hooks in taken:
                _put_back(module, hooks)


def _read(module: nn.Module) -> None:
    """Compute the module's parametrized tensors, which torch keeps from here on."""
    if parametrize.is_parametrized(module):
        for name in module.parametrizations:  # type: ignore[union-attr]
            getattr(module, name)


def _run_hooks(module: nn.Module) -> None:
    """Run the hooks that compute weights, in their order, and take them out."""
    for number, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, HOOKS):
            hook(module, ())
            del module._forward_pre_hooks[number]


def _put_back(module: nn.Module, hooks: dict[int, Any]) -> None:
    """Those that were taken out, in their old order; others may have come or gone since."""
    now = dict(module._forward_pre_hooks)
    kept = {n: hook for n, hook in hooks.items() if n in now or isinstance(hook, HOOKS)}
    module._forward_pre_hooks.clear()
    module._forward_pre_hooks.update(kept | now)
