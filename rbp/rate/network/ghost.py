"""A copy of a network on the meta device, which has shapes and no numbers: to see what a pass would do."""

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
    """What reached the first neuron, and how often it was called."""

    shape: tuple[int, ...]
    step_mode: str
    calls: int


def ghost_of(network: Network) -> Network:
    """A copy on the meta device, without the hooks that watch outputs and gradients."""
    memo: dict[int, Any] = {}
    net = network.net
    kept = [leaf for module in net.modules() for leaf in tree_leaves(list(vars(module).values()))]
    kept += [leaf for owner in owners(network) for leaf in tree_leaves(owner.values)]
    attributes = (leaf for leaf in kept if isinstance(leaf, Tensor))  # with a graph, they cannot be copied
    for tensor in (*net.parameters(), *net.buffers(), *attributes):
        empty = torch.empty_like(tensor, device="meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    ghost = copy.deepcopy(net, memo)
    for module in ghost.modules():
        for hooks in (module._forward_hooks, module._backward_hooks, module._backward_pre_hooks):
            hooks.clear()
        for number, hook in list(module._forward_pre_hooks.items()):
            if not type(hook).__module__.startswith("torch.nn.utils"):  # which make weights
                del module._forward_pre_hooks[number]
    return Network(ghost)


def emptied(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, their tensors on the meta device."""
    return tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, dict(kwargs))


def run_ghost(
    ghost: Network, x: Tensor, kwargs: Mapping[str, Any]
) -> tuple[Reading, tuple[int, ...]] | Exception:
    """The first neuron's reading and the shape of the output (of the first tensor in it); the exception of a
    pass that fails."""
    calls: dict[nn.Module, list[tuple[int, ...]]] = {}

    def fire(layer: Layer) -> Callable | None:
        """A neuron's forward, of which only the shape matters."""

        def forward(x: Tensor, *_: Any, **__: Any) -> Tensor:
            calls.setdefault(layer.module, []).append(tuple(x.shape))
            return torch.empty_like(x)

        if isinstance(layer.module, nn.SyncBatchNorm):  # torch's knows GPUs only
            return torch.empty_like
        return forward if layer.kind.is_neuron else None

    try:
        with neurons_reset(ghost), replaced(ghost, fire), torch.no_grad(), _without_numbers():
            y = ghost.net(x, **kwargs)
    except Exception as error:  # whatever an input of another form makes of the network's own code
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
