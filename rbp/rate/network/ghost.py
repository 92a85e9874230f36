"""Dry runs of a network on PyTorch's meta device.

A ghost is a copy of a network whose tensors have shapes but no data. Running it shows what a forward pass
would do, such as the shapes that reach the first neuron, at almost no cost.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from rbp.rate.errors import InputError
from rbp.rate.memory.draws import random_state_kept
from rbp.rate.network.modules import Layer, Network
from rbp.rate.network.owners import owners
from rbp.rate.network.patching import neurons_reset, replaced


class Reading(NamedTuple):
    """The input of a network's first neuron.

    Attributes:
        shape: the shape of the first input to the neuron.
        step_mode: the neuron's step mode; "s" if it has none.
        calls: how many times the neuron was called in the pass.
    """

    shape: tuple[int, ...]
    step_mode: str
    calls: int


def ghost_of(network: Network) -> Network:
    """Return a copy of the network on the meta device.

    The copy has no hooks except the forward pre-hooks of `torch.nn.utils`, which compute weights.
    """
    memo: dict[int, Any] = {}
    net = network.net
    kept = [leaf for module in net.modules() for leaf in tree_leaves(list(vars(module).values()))]
    kept += [leaf for owner in owners(network) for leaf in tree_leaves(owner.values)]
    attributes = (leaf for leaf in kept if isinstance(leaf, Tensor))  # deepcopy fails on tensors with a graph
    for tensor in (*net.parameters(), *net.buffers(), *attributes):
        empty = torch.empty_like(tensor, device="meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    ghost = copy.deepcopy(net, memo)
    for module in ghost.modules():
        for hooks in (module._forward_hooks, module._backward_hooks, module._backward_pre_hooks):
            hooks.clear()
        for number, hook in list(module._forward_pre_hooks.items()):
            if not type(hook).__module__.startswith("torch.nn.utils"):  # these compute weights
                del module._forward_pre_hooks[number]
    return Network(ghost)


def emptied(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with their tensors moved to the meta device."""
    return tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, dict(kwargs))


def run_ghost(
    ghost: Network, x: Tensor, kwargs: Mapping[str, Any]
) -> tuple[Reading, tuple[int, ...]] | Exception:
    """Run the ghost once, with its neurons replaced by functions that only preserve the shape.

    Args:
        ghost: a network from `ghost_of`.
        x: the input, on the meta device.
        kwargs: the other arguments of the call, on the meta device.

    Returns:
        What the first neuron received and the shape of the output (of its first tensor, if it has several).
        If the pass fails, calls no neuron or returns no tensor, an exception is returned instead.
    """
    calls: dict[nn.Module, list[tuple[int, ...]]] = {}

    def fire(layer: Layer) -> Callable | None:
        """Return a replacement for the layer's forward that preserves the shape; None to keep its own."""

        def forward(x: Tensor, *_: Any, **__: Any) -> Tensor:
            calls.setdefault(layer.module, []).append(tuple(x.shape))
            return torch.empty_like(x)

        if isinstance(layer.module, nn.SyncBatchNorm):  # PyTorch's supports GPUs only
            return torch.empty_like
        return forward if layer.kind.is_neuron else None

    try:
        with neurons_reset(ghost), replaced(ghost, fire), torch.no_grad(), _without_numbers():
            y = ghost.net(x, **kwargs)
    except Exception as error:  # the network's own code may raise anything on an input of the wrong form
        return error
    outputs = [leaf for leaf in tree_leaves(y) if isinstance(leaf, Tensor)]
    if not calls or not outputs:
        return InputError("it calls no neuron, or returns no tensor")
    first: Any = next(iter(calls))
    reading = Reading(calls[first][0], getattr(first, "step_mode", "s"), len(calls[first]))
    return reading, tuple(outputs[0].shape)


@contextmanager
def _without_numbers() -> Iterator[None]:
    with torch.device("meta"), random_state_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
