"""What determines how a network runs, apart from its tensors: the keys of answers that the engine caches."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from numbers import Number
from types import NoneType
from typing import Any, NamedTuple

from torch.utils._pytree import tree_leaves

from rbp.rate.network.modules import Network
from rbp.rate.network.owners import owners

MOST_KEPT = 256  # answers per network
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
        (number, name, repr(plain_values(value)))
        for number, owner in enumerate(owners(network))
        for name, value in owner.values.items()
        if Place(number, name) not in ignored
    ]
    return tuple(modes), tuple(values)


def plain_values(value: Any) -> list[Any]:
    """Return the numbers, flags and strings in a value, in lists and dicts too."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, _PLAIN)]


def remember(known: dict[Any, Any], key: Any, answer: Any) -> Any:
    """Keep an answer, and forget all once there are very many, as of a network that counts its calls."""
    if len(known) > MOST_KEPT:
        known.clear()
    known[key] = answer
    return answer
