"""The operations of a batch: which calls of a layer belong to which time steps."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from rbp.train.operations.additions import additions, dense
from rbp.train.operations.divisors import Divisor
from rbp.train.operations.products import Driver


@dataclass
class Products:
    """The operations of one layer on all images counted, by time step.

    Attributes:
        additions: Additions, one a spike and product.
        macs: Multiply-accumulates.
        dense: Multiply-accumulates of a single step if no value is left out.
        static: Whether its input is the same at every step, and no neuron comes before it.
    """

    additions: list[float]
    macs: list[float]
    dense: float = 0.0
    static: bool = True

    @classmethod
    def none(cls, T: int) -> Products:
        """Return no operations in T steps."""
        return cls([0.0] * T, [0.0] * T)

    def add(self, other: Products) -> None:
        """Add the operations of other images."""
        self.additions = [a + b for a, b in zip(self.additions, other.additions, strict=True)]
        self.macs = [a + b for a, b in zip(self.macs, other.macs, strict=True)]
        self.dense, self.static = self.dense + other.dense, self.static and other.static

    def at_first_step_only(self) -> Products:
        """Return the operations of the first step, with none at the others."""
        rest = [0.0] * (len(self.macs) - 1)
        return Products([self.additions[0], *rest], [self.macs[0], *rest], self.dense, self.static)


@dataclass
class Counts:
    """The operations of a network on some images.

    Attributes:
        T: Number of time steps.
        images: Number of images counted.
        layers: The operations by module name.
        not_counted: Why a module's operations, or some of them, are not among them, by name.
    """

    T: int
    images: int = 0
    layers: dict[str, Products] = field(default_factory=dict)
    not_counted: dict[str, str] = field(default_factory=dict)

    def add(self, other: Counts) -> None:
        """Add the operations of other images."""
        for name, products in other.layers.items():
            self.layers.setdefault(name, Products.none(self.T)).add(products)
        self.images += other.images
        self.not_counted |= other.not_counted


class _Call(NamedTuple):
    """One call of a function with products.

    Attributes:
        drivers: What can drive it, each with x [t, n, ...] of the images counted, t being T or 1.
        root: Number of the network's call that it is part of, from 1.
        fired: Whether a neuron was called before.
        divisors: What the average pools before it divide by.
    """

    drivers: list[Driver]
    root: int
    fired: bool
    divisors: list[Divisor]


class Calls:
    """The calls of functions with products in one batch, by the place that they come from.

    They are worked out after the batch, all calls of a place at once.

    Args:
        T: Number of time steps.
    """

    def __init__(self, T: int) -> None:
        self.T = T
        self._by_place: dict[tuple[str, str], list[_Call]] = defaultdict(list)

    def add(
        self, place: tuple[str, str], drivers: list[Driver], root: int, fired: bool, divisors: list[Divisor]
    ) -> None:
        """Add a call; see `_Call`. The tensors are copied, since the network may write to them later.

        Args:
            place: Names of the module and the function.
            drivers: See there.
            root: See there.
            fired: See there.
            divisors: See there.
        """
        kept = [driver._replace(x=driver.x.clone()) for driver in drivers]
        self._by_place[place].append(_Call(kept, root, fired, divisors))

    def by_layer(self, roots: int) -> dict[str, Products]:
        """Return the operations by module name.

        Args:
            roots: How many times the network was called.
        """
        found: dict[str, Products] = {}
        for (name, _), calls in self._by_place.items():
            layer = found.setdefault(name, Products.none(self.T))
            for alike in _alike(calls):
                layer.add(self._operations(alike, roots))
        return found

    def _operations(self, calls: list[_Call], roots: int) -> Products:
        """Return the operations of calls with tensors of the same shapes."""
        drivers = [_joined([call.drivers[i] for call in calls]) for i in range(len(calls[0].drivers))]
        tried = [(driver, additions(driver, calls[0].divisors)) for driver in drivers]
        with_spikes = [(sum(n), driver, n) for driver, n in tried if n is not None]
        driver, n = min(with_spikes, key=lambda row: row[0])[1:] if with_spikes else tried[0]
        x, first_step = driver.x, driver.x[:1]
        each = dense(driver) / len(x)
        static = not calls[0].fired and not float((x - first_step).abs().sum())
        found = Products.none(self.T)
        for row, steps in enumerate(self._steps(calls, roots)):
            for t in steps:
                found.additions[t] += n[row] if n is not None else 0.0
                found.macs[t] += each if n is None else 0.0
                found.dense += each / self.T
        found.static = static
        return found

    def _steps(self, calls: list[_Call], roots: int) -> list[range]:
        """Return the steps that each row of the calls' tensors, joined, stands for."""
        if len(calls[0].drivers[0].x) == self.T:
            return [range(t, t + 1) for _ in calls for t in range(self.T)]
        if roots == self.T:
            return [range(call.root - 1, call.root) for call in calls]
        if len(calls) % self.T == 0:  # the network goes through the steps itself
            times = len(calls) // self.T
            return [range(i // times, i // times + 1) for i in range(len(calls))]
        return [range(self.T)] * len(calls)  # computed once, for all steps


def _alike(calls: list[_Call]) -> list[list[_Call]]:
    """Return the calls in groups with tensors of the same shapes, and so the same reach."""
    groups: dict[Any, list[_Call]] = defaultdict(list)
    for call in calls:
        groups[tuple((d.x.shape, d.x.dtype, d.channels) for d in call.drivers)].append(call)
    return list(groups.values())


def _joined(drivers: list[Driver]) -> Driver:
    first = drivers[0]
    return first if len(drivers) == 1 else first._replace(x=torch.cat([driver.x for driver in drivers]))
