"""Symbolic execution: every tensor in a dry run gets a number for the expression that computed it.

Two tensors have the same number if the same operations computed them from the same inputs. Values are not
needed, so this works on the meta device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves

# Functions that make a tensor of Python's numbers, which the operations below them no longer show.
_OF_NUMBERS = (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, Tensor.new_tensor)
_BATCH_NORM = torch.ops.aten.native_batch_norm.default


class Expressions(TorchDispatchMode):
    """Numbers the expression in every storage while it is active.

    Storages are numbered, not tensors, so that views share their base's expression, and a write through one
    changes the others.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[tuple, int] = {}  # expression -> number
        self.in_storage: dict[int, int] = {}  # storage -> number of the expression
        self.of_input: set[int] = set()  # the expressions that the input of the network is part of
        self.kept: list[Any] = []  # the storages, whose addresses would be used again
        self.draws = 0

    @contextmanager
    def active(self) -> Iterator[None]:
        """Number the operations in the block, and the random draws from 0 on."""
        self.draws = 0
        with self, _OfNumbers(self):
            yield

    def name(self, tensor: Tensor, *expression: Any) -> None:
        """Say which expression a tensor holds."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self.in_storage:
            self.kept.append(storage)
        self.in_storage[storage._cdata] = self.numbers.setdefault(expression, len(self.numbers))

    def name_input(self, value: Any) -> None:
        """Say that the tensors of a value, in lists and dicts too, are the input of the network."""
        for place, tensor in enumerate(_tensors(value)):
            self.name(tensor, "input", place)
            self.of_input.add(self._number(tensor))

    def has_input(self, value: Any) -> bool:
        """Whether the input is part of the expression of any of the value's tensors."""
        return any(self._number(tensor) in self.of_input for tensor in _tensors(value))

    def name_all(self, value: Any, *expression: Any) -> None:
        """Say which expression the tensors of a value hold, in lists and dicts too."""
        for place, tensor in enumerate(_tensors(value)):
            self.name(tensor, *expression, place)

    def name_result(self, value: Any, inputs: Any, *expression: Any) -> None:
        """Say which expression of these inputs the tensors of a value hold."""
        has_input = self.has_input(inputs)
        self.name_all(value, *expression)
        if has_input:
            self.of_input.update(self._number(tensor) for tensor in _tensors(value))

    def look(self, value: Any) -> tuple:
        """Return a value's structure, with its tensors' expressions and views in place of tensors."""
        leaves, structure = tree_flatten(value)
        return str(structure), *(self._leaf(leaf) for leaf in leaves)

    def _leaf(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return f"{type(leaf).__qualname__}" if _is_object(leaf) else repr(leaf)
        if leaf.layout != torch.strided:
            return repr(leaf.layout), tuple(leaf.shape)
        return self._number(leaf), tuple(leaf.shape), leaf.stride(), leaf.storage_offset(), leaf.dtype

    def _number(self, tensor: Tensor) -> int:
        if tensor.device.type != "meta":  # of the network's own making, as from numpy: known by its values
            values = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            return self.numbers.setdefault(("values", values), len(self.numbers))
        storage = tensor.untyped_storage()._cdata
        if storage not in self.in_storage:
            self.name(tensor, "found", storage)
        return self.in_storage[storage]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = (args, kwargs)
        expression = self._expression(func, args, kwargs)
        known = {x.untyped_storage()._cdata for x in _tensors(inputs)}
        result = _shapes_of_batch_norm(*args) if func is _BATCH_NORM else func(*args, **kwargs)
        new = [x for x in _tensors(result) if x.untyped_storage()._cdata not in known]
        self.name_result([x for x in new if x.device.type == "meta"], inputs, *expression)
        for place, tensor in _written(func, args, kwargs):
            self.name_result(tensor, inputs, *expression, "written", place, self.look(tensor))
        if func is _BATCH_NORM and args[5]:
            self.name_all(args[3:5], "statistics", self.look((args[:1], args[3:5])))
        return result

    def _expression(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> tuple:
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.draws += 1
            return str(func), self.look((args, kwargs)), "draw", self.draws
        if func is _BATCH_NORM and args[5]:  # in training the output depends on the batch alone
            return str(func), self.look((args[:3], args[7:]))
        return str(func), self.look((args, kwargs))


class _OfNumbers(TorchFunctionMode):
    """Names the tensors that are made of Python's numbers by those."""

    def __init__(self, expressions: Expressions) -> None:
        super().__init__()
        self.expressions = expressions

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _OF_NUMBERS and result.device.type == "meta" and not _tensors((args, kwargs)):
            self.expressions.name(result, "numbers", repr(args), repr(kwargs))
        return result


def _tensors(value: Any) -> list[Tensor]:
    leaves = (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
    return [leaf for leaf in leaves if leaf.layout == torch.strided]


def _written(func: Any, args: tuple, kwargs: dict[str, Any]) -> Iterator[tuple[int, Tensor]]:
    """Yield the arguments that an operation writes to, with their places."""
    for n, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[n] if n < len(args) else kwargs.get(argument.name)
            yield from ((n, tensor) for tensor in _tensors(given) if tensor.device.type == "meta")


def _shapes_of_batch_norm(x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return tensors of the shapes that batch normalisation returns, which on the meta device is slow."""
    return torch.empty_like(x), x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


def _is_object(leaf: Any) -> bool:
    """Whether the value's repr is its address, which says nothing."""
    return type(leaf).__repr__ is object.__repr__
