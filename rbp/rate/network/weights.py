"""Weights that are recomputed on every access: spectral norm, weight norm, pruning masks.

Spectral norm performs a power iteration step on each access, and a pass over T steps accesses a weight
several times: for the spikes and for the rate, and at every step. Here each weight is computed once per
forward pass.
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

HOOKS = (SpectralNorm, WeightNorm, BasePruningMethod)  # PyTorch's older mechanism, forward pre-hooks


@contextmanager
def weights_read_once(network: Network) -> Iterator[None]:
    """Compute every parametrized tensor of the network once, on entry, with a graph if gradients are enabled.

    PyTorch's hooks that compute weights also run on entry, and are removed inside the block. Both are
    restored on exit, also after an exception. Weights that the pass does not use are computed as well.
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
    """Compute the module's parametrized tensors, which `parametrize.cached` then keeps."""
    if parametrize.is_parametrized(module):
        for name in module.parametrizations:  # type: ignore[union-attr]
            getattr(module, name)


def _run_hooks(module: nn.Module) -> None:
    """Run the hooks that compute weights, in order, and remove them."""
    for number, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, HOOKS):
            hook(module, ())
            del module._forward_pre_hooks[number]


def _put_back(module: nn.Module, hooks: dict[int, Any]) -> None:
    """Put back the removed hooks in their original order; others may have been added or removed since."""
    now = dict(module._forward_pre_hooks)
    kept = {n: hook for n, hook in hooks.items() if n in now or isinstance(hook, HOOKS)}
    module._forward_pre_hooks.clear()
    module._forward_pre_hooks.update(kept | now)
