"""What values of any kind are, in a form that can be compared: of lists, objects, arrays and generators."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Digest = str
DEEPEST = 6  # objects within objects


def look(value: Any, at_tensor: Callable[[Tensor], Any], depth: int = DEEPEST) -> Any:
    """Return a hashable form of a value.

    Args:
        value: anything.
        at_tensor: what to return for a tensor.
        depth: how many objects within objects to look into.
    """

    def inside(value: Any) -> Any:
        return look(value, at_tensor, depth - 1)

    if isinstance(value, Tensor):
        return at_tensor(value)
    if isinstance(value, numpy.ndarray):
        return str(value.dtype), value.shape, _digest(value.tobytes())
    if isinstance(value, torch.Generator):
        return of_generator(value)
    if depth == 0 or isinstance(value, _NAMED):
        return getattr(value, "__qualname__", type(value).__qualname__)
    if isinstance(value, list | tuple | set | frozenset):
        return type(value).__qualname__, tuple(inside(item) for item in value)
    if isinstance(value, Mapping):
        return type(value).__qualname__, tuple((inside(key), inside(item)) for key, item in value.items())
    if dataclasses.is_dataclass(value) or type(value).__repr__ is object.__repr__:
        return type(value).__qualname__, inside(getattr(value, "__dict__", None))
    return type(value).__qualname__, repr(value)


_NAMED = (type, FunctionType, MethodType, BuiltinFunctionType, ModuleType, nn.Module)


def tensors_in(value: Any) -> list[Tensor]:
    """Return the strided tensors in a value, in lists and dicts too."""
    leaves = (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
    return [leaf for leaf in leaves if leaf.layout == torch.strided]


def of_values(tensor: Tensor) -> Digest:
    """Return a digest of a tensor's values and dtype."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return str(tensor.dtype) + _digest(flat.view(torch.uint8).numpy().tobytes() if len(flat) else b"")


def of_generator(generator: torch.Generator) -> Digest:
    """Return a digest of a random number generator's state."""
    return of_values(generator.get_state())


def _digest(data: bytes) -> Digest:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
