"""What determines how a network runs, apart from its tensors: the keys of answers that the engine caches."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from numbers import Number
from types import NoneType
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from rbp.rate.network.modules import Network
from rbp.rate.network.owners import owners

MOST_KEPT = 256  # answers per network
LONGEST = 1000  # of lists, beyond which what is in them is data
_PLAIN = (bool, int, float, complex, str, bytes, NoneType, Enum, Number)


class Place(NamedTuple):
    """An attribute of the user's own code: the index of its owner in `owners(network)`, and its name."""

    owner: int
    name: str


def settings_of(network: Network, ignored: Collection[Place] = ()) -> tuple:
    """Return every module's training flag and step mode, and the plain values of the user's own modules.

    Those are the numbers, flags and strings in their attributes and objects, in lists and dicts too.

    Args:
        network: the network.
        ignored: attributes to leave out.
    """
    modes = [(found.module.training, getattr(found.module, "step_mode", None)) for found in network.layers]
    values = [
        (number, name, _told(value))
        for number, owner in enumerate(owners(network))
        for name, value in owner.values.items()
        if Place(number, name) not in ignored
    ]
    return tuple(modes), tuple(values)


def _told(value: Any) -> str:
    """Return the plain values of a value, floats by their sign alone.

    A float that changes from call to call, such as an annealed rate, switches nothing on or off otherwise.
    """
    if isinstance(value, list | tuple | dict | set) and len(value) > LONGEST:
        return f"{id(value)}, {len(value)}"
    leaves = plain_values(value)
    return repr([(leaf > 0) - (leaf < 0) if isinstance(leaf, float) else leaf for leaf in leaves])


def signature(kwargs: Mapping[str, Any]) -> str:
    """Return a key of a call's further arguments: their values, with shape and dtype in place of tensors."""
    return repr(
        tree_map(lambda leaf: (leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf, dict(kwargs))
    )


def plain_values(value: Any) -> list[Any]:
    """Return the numbers, flags and strings in a value, in lists and dicts too."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, _PLAIN)]


def remember(known: dict[Any, Any], key: Any, answer: Any) -> Any:
    """Keep an answer, and forget all once there are very many, as of a network that counts its calls."""
    if len(known) > MOST_KEPT:
        known.clear()
    known[key] = answer
    return answer
