"""Cutting the state that a time step inherits from the graph of the step before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from spikingjelly.activation_based import base
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from rbp.gradients.online.traced import plain
from rbp.rate.network.modules import Network
from rbp.rate.network.owners import owners
from rbp.rate.neurons import memories

Change = Callable[[Any], Any]


@contextmanager
def states_cut(network: Network) -> Iterator[Callable[[], None]]:
    """Let the block cut the network's state after each step, by calling what is yielded.

    Cut are the memories of SpikingJelly's modules, the state of neurons that are plain modules, and whatever
    else the user's own modules have written to their attributes since the block began. A tensor with a graph
    that was there before, such as a weight computed by another network, stays as it is.
    """
    found = owners(network)
    held = [leaf for owner in found for leaf in tree_leaves(owner.values)]  # so that no id is used again
    before = {id(leaf) for leaf in held}

    def change_all(change: Change) -> None:
        for layer in network.layers:
            if isinstance(layer.module, base.MemoryModule):
                layer.module._memories.update(_changed(layer.module._memories, change))
            elif layer.kind.is_plain_neuron:
                memories.put(layer.module, _changed(memories.attributes(layer.module), change))
        for owner in found:
            owner.put(_changed(owner.values, lambda leaf: leaf if id(leaf) in before else change(leaf)))

    try:
        yield lambda: change_all(_cut)
    finally:
        change_all(plain)


def _cut(leaf: Any) -> Any:
    """Return a tensor without its graph, but with its trace."""
    own = isinstance(leaf, Tensor) and leaf.requires_grad and not isinstance(leaf, nn.Parameter)
    return leaf.detach() if own else leaf


def _changed(values: dict[str, Any], change: Change) -> dict[str, Any]:
    """Return the values that a change of their tensors changes."""
    found = {}
    for name, value in values.items():
        leaves = tree_leaves(value)
        if any(change(leaf) is not leaf for leaf in leaves if isinstance(leaf, Tensor)):
            found[name] = tree_map(change, value)
    return found
