"""Symbolic execution: every tensor in a dry run gets a number for the expression that computed it.

Two tensors have the same number if the same operations computed them from the same inputs. So what a network
computes at two steps can be compared whatever the values are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rbp.rate.dry_run.looks import Digest, look, of_generator, of_values, tensors_in

_BATCH_NORMS = (torch.ops.aten.native_batch_norm.default, torch.ops.aten.cudnn_batch_norm.default)


class Expressions(TorchDispatchMode):
    """Numbers the expression in every storage while it is active.

    Storages are numbered, not tensors, so that views share their base's expression, and a write through one
    changes the others. Tensors that nothing here has computed are known by their values.

    Attributes:
        garbage: the expressions of tensors that are not filled yet.
        of_input: the expressions that the input of the network is part of.
        of_loop: the expressions that a marked input of a loop is part of, and that loop (see
            rbp.rate.dry_run.loops).
        loop: the loop that is being run.
        crossed: whether it has read what another loop computed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[tuple, int] = {}  # expression -> number
        self.in_storage: dict[int, int] = {}  # storage -> number of the expression
        self.kept: list[Any] = []  # the storages, whose addresses would be used again
        self.garbage: set[int] = set()
        self.of_input: set[int] = set()
        self.of_loop: dict[int, Any] = {}
        self.loop: Any = None
        self.crossed = False

    def name(self, tensor: Tensor, *expression: Any) -> int:
        """Say which expression a tensor holds; returns its number."""
        number = self.numbers.setdefault(expression, len(self.numbers))
        self._set(tensor, number)
        return number

    def name_input(self, value: Any) -> None:
        """Say that the tensors of a value are the input of the network."""
        for place, tensor in enumerate(tensors_in(value)):
            self.of_input.add(self.name(tensor, "input", place))

    def name_results(self, results: list[Tensor], inputs: Any, *expression: Any) -> None:
        """Say that these tensors are the results of an expression of the inputs."""
        of = {self.number(tensor) for tensor in tensors_in(inputs)}
        loops = [self.of_loop[number] for number in of if number in self.of_loop]
        for place, tensor in enumerate(results):
            number = self.name(tensor, *expression, place)
            if of & self.of_input:
                self.of_input.add(number)
            if loops:
                self.of_loop[number] = loops[0] if self.loop is None else self.loop

    def has_input(self, value: Any) -> bool:
        """Whether the input is part of the expression of any of the value's tensors."""
        return any(self.number(tensor) in self.of_input for tensor in tensors_in(value))

    def look(self, value: Any) -> Any:
        """Return what a value is, comparable, with its tensors' expressions and views in place of tensors."""
        return look(value, self._look_at_tensor)

    def number(self, tensor: Tensor) -> int:
        """Return the number of the expression that a tensor's storage holds."""
        known = self.in_storage.get(tensor.untyped_storage()._cdata)
        if known is not None:
            return known
        return self.numbers.setdefault(("values", of_values(tensor)), len(self.numbers))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = (args, kwargs)
        self._note_crossing(inputs)
        expression = self._expression(func, args, kwargs)
        given = tensors_in(inputs)
        known = {tensor.untyped_storage()._cdata for tensor in given}
        with self._unchanged_kept(func, args, kwargs, expression, inputs):
            result = func(*args, **kwargs)
        new = [x for x in tensors_in(result) if x.untyped_storage()._cdata not in known]
        if _is_empty(func):
            self.garbage.update(self.name(tensor, *expression) for tensor in new)
        elif len(new) == 1 and given and not self.has_input(inputs) and _is_whole_copy(new[0], given[0]):
            self._set(new[0], self.number(given[0]))
        else:
            self.name_results(new, inputs, *expression)
        return result

    def _set(self, tensor: Tensor, number: int) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.in_storage:
            self.kept.append(storage)
        self.in_storage[storage._cdata] = number

    def _look_at_tensor(self, tensor: Tensor) -> Any:
        if tensor.layout != torch.strided:
            return str(tensor.layout), tuple(tensor.shape), tensor.dtype
        view = (tuple(tensor.shape), tensor.stride(), tensor.storage_offset(), tensor.dtype)
        return self.number(tensor), view

    def _expression(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> tuple:
        if func in _BATCH_NORMS and args[5]:  # in training the output depends on the batch alone
            return str(func), self.look((args[:3], args[7:]))
        seen = self.look((args, kwargs))
        if func.overloadpacket.__name__ in _FILLS and _is_whole(args[0]):  # whatever was there
            seen = (tuple(args[0].shape), args[0].stride(), args[0].dtype, self.look((args[1:], kwargs)))
        if torch.Tag.nondeterministic_seeded in func.tags:
            return str(func), seen, _draws_from(args, kwargs)
        return str(func), seen

    @contextmanager
    def _unchanged_kept(
        self, func: Any, args: tuple, kwargs: dict[str, Any], expression: tuple, inputs: Any
    ) -> Iterator[None]:
        """Name what the operation writes to, unless that stays as it is: a clamp of clamped weights."""
        written = list(_written(func, args, kwargs))
        before = [None if self._may_change(tensor, inputs) else tensor.clone() for tensor in written]
        fills = func.overloadpacket.__name__ in _FILLS and _is_whole(args[0])
        rest = (args[1:], kwargs) if fills else inputs
        yield
        for place, (tensor, old) in enumerate(zip(written, before, strict=True)):
            if old is None or not _equal(old, tensor):
                self.name_results([tensor], rest, *expression, "written", place)
        if func in _BATCH_NORMS and args[5]:
            for tensor in tensors_in(args[3:5]):
                self.name(tensor, "statistics", self.look((args[:1], tensor)))

    def _may_change(self, tensor: Tensor, inputs: Any) -> bool:
        return self.number(tensor) in self.garbage or self.has_input(inputs)

    def _note_crossing(self, inputs: Any) -> None:
        if self.loop is not None and self.of_loop:
            found = (self.of_loop.get(self.number(tensor)) for tensor in tensors_in(inputs))
            self.crossed |= any(loop is not None and loop != self.loop for loop in found)


_FILLS = frozenset(
    {"bernoulli_", "copy_", "exponential_", "fill_", "normal_", "random_", "uniform_", "zero_"}
)


def _is_empty(func: Any) -> bool:
    """Whether an operation gives memory out as it is."""
    return "empty" in func.overloadpacket.__name__


def _is_whole(tensor: Tensor) -> bool:
    """Whether a tensor is all that is in its storage."""
    return tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def _draws_from(args: tuple, kwargs: dict[str, Any]) -> Digest:
    """Return the state of the generator that a random operation draws from."""
    generator = kwargs.get("generator")
    if generator is not None:
        return of_generator(generator)
    given = tensors_in((args, kwargs))
    device = given[0].device if given else torch.device(kwargs.get("device") or "cpu")
    return of_values(torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state())


def _written(func: Any, args: tuple, kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """Yield the tensors that an operation writes to."""
    for n, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from tensors_in(args[n] if n < len(args) else kwargs.get(argument.name))


def _is_whole_copy(new: Tensor, old: Tensor) -> bool:
    """Whether an operation has returned its first tensor as it was, such as a norm that was small enough."""
    return _is_whole(old) and new.stride() == old.stride() and _equal(new, old)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
