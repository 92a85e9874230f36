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


class Attribute(NamedTuple):
    """An attribute of the user's own code: the index of its owner in `owners(network)`, and its name."""

    owner: int
    name: str


def settings_of(network: Network, ignored: Collection[Attribute] = (), *, signs: bool = False) -> tuple:
    """Return every module's training flag and step mode, and the plain values of the user's own modules.

    Those are the numbers, flags and strings in their attributes and objects, in lists and dicts too.

    Args:
        network: the network.
        ignored: attributes to leave out.
        signs: whether to put the sign of each float in its place, so that a rate that is annealed stays the
            same.
    """
    modes = [(found.module.training, getattr(found.module, "step_mode", None)) for found in network.layers]
    values = [
        (number, name, _text(value, signs))
        for number, owner in enumerate(owners(network))
        for name, value in owner.values.items()
        if Attribute(number, name) not in ignored
    ]
    return tuple(modes), tuple(values)


def _text(value: Any, signs: bool) -> str:
    if isinstance(value, list | tuple | dict | set) and len(value) > LONGEST:
        return f"{id(value)}, {len(value)}"
    return repr([_sign(leaf) if signs and isinstance(leaf, float) else leaf for leaf in plain_values(value)])


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)


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
