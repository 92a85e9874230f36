"""State that a network's code keeps outside the network: in globals, closures, classes and functions.

A dry run must not change it, and shows only with copies of it whether the network reads what it wrote.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from rbp.rate.network.modules import Network
from rbp.rate.network.owners import function_of, is_users_object, owners, written_by_user
from rbp.rate.network.settings import LONGEST


class _Scope(NamedTuple):
    """Something outside the network that holds values by name."""

    read: Callable[[], dict[str, Any]]
    put: Callable[[str, Any], None]
    drop: Callable[[str], None]


class Outside:
    """Copies of what the code of a network's user-defined modules keeps outside them."""

    def __init__(self, network: Network, copy_of: Callable[[Any], Any]) -> None:
        """
        Args:
            network: the network.
            copy_of: copies a value. It may raise anything; the value itself is used then.
        """
        self._scopes = list(_scopes(network))
        self._copies = [_copied(scope.read(), copy_of) for scope in self._scopes]

    @property
    def holds_data(self) -> bool:
        """Whether there is anything outside the network that its code could keep state in."""
        return any(_is_data(value) for copies in self._copies for value in copies.values())

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Give the code the copies, and put the originals back on exit. The copies keep what was written."""
        before = [scope.read() for scope in self._scopes]
        try:
            for scope, copies in zip(self._scopes, self._copies, strict=True):
                _restore(scope, copies)
            yield
        finally:
            self._copies = [scope.read() for scope in self._scopes]
            for scope, values in zip(self._scopes, before, strict=True):
                _restore(scope, values)


def _copied(values: dict[str, Any], copy_of: Callable[[Any], Any]) -> dict[str, Any]:
    for name, value in values.items():
        if _is_cached(value):
            values[name] = lru_cache(**value.cache_parameters())(value.__wrapped__)
        elif isinstance(value, torch.Generator):
            values[name] = value.clone_state()
        elif _is_data(value):
            with suppress(Exception):  # copying may raise anything
                values[name] = copy_of(value)
    return values


def _is_cached(value: Any) -> bool:
    """Whether a function keeps its results by functools.cache or lru_cache."""
    return hasattr(value, "__wrapped__") and hasattr(value, "cache_parameters")


def _restore(scope: _Scope, values: dict[str, Any]) -> None:
    now = scope.read()
    for name in now.keys() - values.keys():
        scope.drop(name)
    for name, value in values.items():
        if name not in now or now[name] is not value:
            scope.put(name, value)


def _is_data(value: Any) -> bool:
    """Whether a value may hold state: a container, a tensor, an iterator, or an object of the user's.

    An object with a finalizer is left alone: its copy's finalizer would close what the original holds.
    """
    if isinstance(value, tuple):
        return any(_is_data(item) for item in value)
    if hasattr(type(value), "__del__"):
        return False
    kinds = (Tensor, nn.Module, list, dict, set, bytearray, numpy.ndarray, torch.Generator)
    return isinstance(value, kinds) or hasattr(value, "__next__") or is_users_object(value)


def _scopes(network: Network) -> Iterator[_Scope]:
    """Yield every scope that the user's own code can name: of classes, functions, globals and modules."""
    holders = owners(network)
    todo: list[Any] = [type(owner.holder) for owner in holders]
    todo += [value for owner in holders for value in owner.values.values()]
    todo += [value for layer in network.layers for value in vars(layer.module).values()]  # as a new forward
    seen: set[Any] = set()
    while todo:
        found = function_of(todo.pop())
        if isinstance(found, list | tuple | dict) and len(found) <= LONGEST:
            todo += tree_leaves(found)
        if id(found) in seen or not isinstance(found, type | FunctionType) or not written_by_user(found):
            continue
        seen.add(id(found))
        if isinstance(found, type):
            yield _of_class(found)
            todo += [*found.__mro__, *vars(found).values()]
            continue
        for scope in (_of_function(found), _of_closure(found), *_of_globals(found, seen)):
            yield scope
            todo += scope.read().values()


def _of_class(found: type) -> _Scope:
    return _Scope(
        lambda: {name: value for name, value in vars(found).items() if not name.startswith("__")},
        lambda name, value: setattr(found, name, value),
        lambda name: delattr(found, name),
    )


def _of_function(found: FunctionType) -> _Scope:
    """Return the scope of a function's own attributes and its defaults."""
    defaults = ("__defaults__", "__kwdefaults__")
    return _Scope(
        lambda: {**vars(found), **{name: getattr(found, name) for name in defaults}},
        lambda name, value: setattr(found, name, value),
        lambda name: delattr(found, name),
    )


def _of_closure(found: FunctionType) -> _Scope:
    cells = dict(zip(found.__code__.co_freevars, found.__closure__ or (), strict=True))

    def read() -> dict[str, Any]:
        values = {}
        for name, cell in cells.items():
            try:
                values[name] = cell.cell_contents
            except ValueError:  # an empty cell
                continue
        return values

    def drop(name: str) -> None:
        del cells[name].cell_contents

    return _Scope(read, lambda name, value: setattr(cells[name], "cell_contents", value), drop)


def _of_globals(found: FunctionType, seen: set[Any]) -> Iterator[_Scope]:
    """Yield the scopes of a function's globals and of the user's modules that it refers to."""
    loaded, named = _names_of(found.__code__)
    variables = found.__globals__
    yield _of_names(variables, loaded)
    modules = [variables.get(name) for name in loaded] + [sys.modules.get(name) for name in named]
    for module in modules:
        if isinstance(module, ModuleType) and written_by_user(module):
            new = frozenset(name for name in named & vars(module).keys() if (id(module), name) not in seen)
            seen.update((id(module), name) for name in new)
            yield _of_names(vars(module), new)


def _of_names(variables: dict[str, Any], used: frozenset[str]) -> _Scope:
    return _Scope(
        lambda: {name: variables[name] for name in used if name in variables},
        variables.__setitem__,
        variables.__delitem__,
    )


@lru_cache(maxsize=1024)
def _names_of(code: CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the globals that a function's code refers to, and all its names, attributes too."""
    loaded = {s.argval for s in dis.get_instructions(code) if s.opname.endswith(("_GLOBAL", "_NAME"))}
    named = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = _names_of(constant)
            loaded, named = loaded | inner[0], named | inner[1]
    return frozenset(loaded), frozenset(named)
