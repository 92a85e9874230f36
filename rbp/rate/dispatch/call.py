"""The call of a torch function, which can be repeated with plain tensors in place of its pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from rbp.rate.dispatch.pair import Pair


class Call:
    """func(*args, **kwargs) with pairs among the arguments, or in nested lists, tuples and dicts of them.

    Args:
        func: the torch function.
        args: its positional arguments.
        kwargs: its keyword arguments.

    Attributes:
        leaves: the arguments, flattened.
        spec: how to unflatten the leaves into (args, kwargs).
        places: the indices of the pairs among the leaves.
        pairs: the pairs, in this order.
    """

    def __init__(self, func: Callable, args: tuple, kwargs: dict) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.leaves, self.spec = tree_flatten((args, kwargs))
        self.places = [i for i, leaf in enumerate(self.leaves) if isinstance(leaf, Pair)]
        self.pairs: list[Pair] = [self.leaves[i] for i in self.places]

    def __call__(self, *tensors: Tensor | None) -> Any:
        """Call the function with one tensor in place of each pair."""
        leaves = list(self.leaves)
        for i, tensor in zip(self.places, tensors, strict=True):
            leaves[i] = tensor
        args, kwargs = tree_unflatten(leaves, self.spec)
        return self.func(*args, **kwargs)

    @property
    def form(self) -> tuple:
        """A hashable key shared by calls that differ only in their pairs and the values of their tensors."""
        others = [
            (leaf.shape, leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else leaf
            for i, leaf in enumerate(self.leaves)
            if i not in self.places
        ]
        return self.func, str(self.spec), tuple(self.places), repr(others)

    @property
    def with_ones(self) -> Call:
        """The call with every floating-point tensor but the pairs replaced by ones."""
        leaves = [
            torch.ones_like(leaf)
            if isinstance(leaf, Tensor) and not isinstance(leaf, Pair) and leaf.is_floating_point()
            else leaf
            for leaf in self.leaves
        ]
        return Call(self.func, *tree_unflatten(leaves, self.spec))

    def replacing(self, place: int, leaf: Any) -> Call:
        """Return the call with another leaf at the index `place`."""
        leaves = [leaf if i == place else old for i, old in enumerate(self.leaves)]
        return Call(self.func, *tree_unflatten(leaves, self.spec))

    @property
    def of_one(self) -> bool:
        """Whether the first argument is the only pair."""
        return len(self.pairs) == 1 and bool(self.args) and isinstance(self.args[0], Pair)
