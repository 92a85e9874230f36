"""The parts of a network that are the user's own code and may keep state.

These are modules that neither SpikingJelly nor a rule manages, and plain objects held in their attributes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from rbp.rate.network.modules import Layer, Network
from rbp.rate.neurons import memories


class Owner(NamedTuple):
    """Uniform access to the attributes of a module, or of a plain object held by a module.

    Attributes:
        layer: the module, or the one that holds the object.
        prefix: the attribute path from the module to the object, with a trailing dot; "" for the module.
        holder: the module or the object.
    """

    layer: Layer
    prefix: str
    holder: Any

    @property
    def values(self) -> dict[str, Any]:
        """The holder's attributes and buffers by name."""
        return memories.attributes(self.holder) if isinstance(self.holder, nn.Module) else vars(self.holder)

    def put(self, values: dict[str, Any]) -> None:
        """Set these attributes and buffers."""
        if isinstance(self.holder, nn.Module):
            memories.put(self.holder, values)
        else:
            vars(self.holder).update(values)

    def take(self, names: set[str]) -> None:
        """Delete these attributes."""
        for name in names:
            delattr(self.holder, name)


def owners(network: Network) -> list[Owner]:
    """Return all owners of state that the engine does not manage.

    These are the modules whose kind has `keeps_own_state`, and the plain objects of the user's classes in
    their attributes, also nested. The order is the same for a network and its copies.
    """
    seen: set[int] = set()
    found: list[Owner] = []
    for layer in network.layers:
        if layer.kind.keeps_own_state:
            found.extend(_within(Owner(layer, "", layer.module), seen))
    return found


def _within(owner: Owner, seen: set[int]) -> Iterator[Owner]:
    if id(owner.holder) in seen:
        return
    seen.add(id(owner.holder))
    yield owner
    for name, value in owner.values.items():
        for leaf in tree_leaves(value):
            if hasattr(leaf, "__dict__") and is_users_object(leaf):
                yield from _within(Owner(owner.layer, f"{owner.prefix}{name}.", leaf), seen)


def is_users_object(value: Any) -> bool:
    """Whether the value is a SimpleNamespace or a plain object of a class of the user's own."""
    if isinstance(value, Tensor | nn.Module | type | _FUNCTIONS):
        return False
    if not hasattr(value, "__dict__") and not hasattr(type(value), "__slots__"):
        return False
    return isinstance(value, SimpleNamespace) or written_by_user(type(value))


def function_of(value: Any) -> Any:
    """Return the function of a method, a property, a partial or a cached function; else the value itself."""
    for name in ("__func__", "fget", "func", "__wrapped__"):
        inner = getattr(value, name, None) if not isinstance(value, nn.Module | Tensor | type) else None
        if isinstance(inner, FunctionType):
            return inner
    return value


def written_by_user(found: Any) -> bool:
    """Whether a class, function, module or object is of none of Python's libraries and those of networks."""
    kind = found if isinstance(found, type | FunctionType | ModuleType) else type(found)
    name = kind.__name__ if isinstance(kind, ModuleType) else kind.__module__
    library = (name or "").partition(".")[0]
    return library not in (*sys.stdlib_module_names, *_LIBRARIES)


_FUNCTIONS = FunctionType | MethodType | BuiltinFunctionType
_LIBRARIES = ("torch", "torchvision", "spikingjelly", "timm", "einops", "numpy", "omegaconf", "rbp")
