"""Whether a network reads state left by its previous step, found by running a copy on the meta device.

Tensors are replaced by a subclass that records when a torch function uses it. Changing a tensor in place (a
counter) does not count as a use, nor does batch normalisation (running statistics). Plain numbers, such as a
count of calls, count as read if the network's computation varies within its first STEPS_TRIED calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from enum import Enum
from functools import partial
from numbers import Number
from types import NoneType
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from rbp.rate.network.ghost import emptied, ghost_of, run_ghost
from rbp.rate.network.modules import Network
from rbp.rate.network.owners import Owner, owners
from rbp.rate.network.patching import step_modes

STEPS_TRIED = 8
MOST_KEPT = 256  # answers per network


class Place(NamedTuple):
    """An attribute: the index of its owner in `owners(network)`, and its name."""

    owner: int
    name: str


def read_before_written(
    network: Network, x: Tensor, kwargs: Mapping[str, Any], places: list[Place], step_mode: str | None
) -> list[Place]:
    """Return the attributes whose value from one call is read by the next call, before it writes them.

    The result is cached by network, shape and settings, except for calls with kwargs.

    Args:
        network: the network.
        x: the input of one call; only its shape matters.
        kwargs: the other arguments of the call.
        places: the attributes to check.
        step_mode: the step mode to run the layers in; None leaves them as they are.

    Returns:
        A subset of places; all of them if the network cannot be copied to, or run on, the meta device.
    """
    known = _known.setdefault(network.net, {})
    key = (tuple(places), tuple(x.shape), step_mode, settings_of(network, places))
    if kwargs or key not in known:
        return remember(known, key, _asked(network, x, kwargs, places, step_mode))
    return known[key]


_known: WeakKeyDictionary[nn.Module, dict[Any, list[Place]]] = WeakKeyDictionary()


def settings_of(network: Network, places: Collection[Place] = ()) -> tuple:
    """Return what may determine how a network runs, other than tensors and these places.

    That is every module's training flag and step mode, and the numbers and strings in the attributes of the
    user's own modules and objects, in lists and dicts too.
    """
    modes = [(found.module.training, getattr(found.module, "step_mode", None)) for found in network.layers]
    values = [
        (number, name, repr(plain_values(value)))
        for number, owner in enumerate(owners(network))
        for name, value in owner.values.items()
        if Place(number, name) not in places
    ]
    return tuple(modes), tuple(values)


def remember(known: dict[Any, Any], key: Any, answer: Any) -> Any:
    """Keep an answer, and forget all once there are very many, as of a network that counts its calls."""
    if len(known) > MOST_KEPT:
        known.clear()
    known[key] = answer
    return answer


def _asked(
    network: Network, x: Tensor, kwargs: Mapping[str, Any], places: list[Place], step_mode: str | None
) -> list[Place]:
    try:
        ghost = ghost_of(network)
        with step_modes(ghost, step_mode) if step_mode is not None else nullcontext():
            found = _found(ghost, x.to("meta"), emptied(kwargs), places)
    except Exception:  # copying a module may raise anything
        return places
    return [place for place in places if place in found]


def _found(ghost: Network, x: Tensor, kwargs: Mapping[str, Any], places: list[Place]) -> set[Place]:
    holders = owners(ghost)  # before the ghost runs, so that the indices match those of the network
    values = [holders[place.owner].values.get(place.name) for place in places]
    differ = _steps_differ(ghost, x, kwargs)
    if differ is None:
        return set(places)
    after = [holders[place.owner].values.get(place.name) for place in places]
    counts = (plain_values(a) + plain_values(b) for a, b in zip(values, after, strict=True))
    numbers = {place for place, found in zip(places, counts, strict=True) if differ and found}
    Poison.used = set()
    for place in places:
        _poison(holders[place.owner], place)
    if isinstance(run_ghost(ghost, x, kwargs), Exception):
        return set(places)
    return numbers | Poison.used


_STATISTICS = (F.batch_norm, torch.batch_norm, F.instance_norm)


def _changes_first(func: Callable) -> bool:
    """Whether a torch function modifies its first argument in place: add_, __iadd__, __setitem__."""
    name = getattr(func, "__name__", "")
    return name.startswith("__i") or name == "__setitem__" or (name.endswith("_") and name[-2:] != "__")


class Poison(Tensor):
    """A tensor that records its place in `Poison.used` when a torch function reads it."""

    used: ClassVar[set[Place]] = set()
    place: Place | None = None

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        used = [] if func in _STATISTICS else tree_leaves((args[_changes_first(func) :], kwargs))
        for leaf in used:
            if isinstance(leaf, Poison) and leaf.__dict__.get("place") is not None:
                Poison.used.add(leaf.__dict__["place"])
        return super().__torch_function__(func, types, args, kwargs or {})


def _poison(owner: Owner, place: Place) -> None:
    value = owner.values.get(place.name)
    owner.put({place.name: tree_map(partial(_poisoned, place=place), value)})


def _poisoned(leaf: Any, place: Place) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    poison = leaf.as_subclass(Poison)
    poison.place = place
    return poison


_PLAIN = (bool, int, float, complex, str, bytes, NoneType, Enum, Number)


def plain_values(value: Any) -> list[Any]:
    """Return the numbers, flags and words in a value, in lists and dicts too: what a network may count by."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, _PLAIN)]


class _Recorder(TorchFunctionMode):
    """Record the torch functions called in a pass, with their arguments.

    Tensors that the network holds are recorded by identity, other tensors by shape.
    """

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.known, self.calls = known, []  # type: ignore[var-annotated]

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        leaves = tree_leaves((args, kwargs))
        self.calls.append((func, [self._looks(leaf) for leaf in leaves]))
        return func(*args, **(kwargs or {}))

    def _looks(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return repr(leaf)
        return id(leaf) if id(leaf) in self.known else tuple(leaf.shape)


def _steps_differ(ghost: Network, x: Tensor, kwargs: Mapping[str, Any]) -> bool | None:
    """Whether the computation varies within the first STEPS_TRIED calls; None if a call fails."""
    held = [vars(module) for module in ghost.net.modules()] + [owner.values for owner in owners(ghost)]
    known = {id(leaf) for leaf in tree_leaves(held) if isinstance(leaf, Tensor)}
    recorders = [_Recorder(known) for _ in range(STEPS_TRIED)]
    for recorder in recorders:
        with recorder:
            if isinstance(run_ghost(ghost, x, kwargs), Exception):
                return None
    return any(recorder.calls != recorders[0].calls for recorder in recorders)
