"""The operations of a batch: which calls of a layer belong to which time steps."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from torch import Tensor

from rbp.train.figures.products import Driver


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


@dataclass
class _Call:
    """One call: the number of the network's call that it is part of, and the operations at each step shown."""

    root: int
    additions: list[float]
    macs: list[float]
    dense: float  # of one step
    same: bool  # whether its input is that of the first call, at every step


class Calls:
    """The calls of functions with products in one batch, by the place that they come from.

    Args:
        T: Number of time steps.
    """

    def __init__(self, T: int) -> None:
        self.T = T
        self._by_place: dict[tuple[str, str], list[_Call]] = defaultdict(list)
        self._first: dict[tuple[str, str], Tensor | None] = {}  # input at the first step; None after a neuron

    def add(
        self, place: tuple[str, str], root: int, fired: bool, driver: Driver, additions: list[float] | None
    ) -> None:
        """Add a call.

        Args:
            place: Names of the module and the function.
            root: Which call of the network it is part of, from 1.
            fired: Whether a neuron was called before.
            driver: What drives the product; its x is [t, n, ...], t being T or 1.
            additions: The additions at each of the t steps; None if x is not made of whole numbers.
        """
        x, steps = driver.x, driver.x.shape[0]
        if place not in self._first:
            self._first[place] = None if fired else x[0].clone()
        first = self._first[place]
        same = first is not None and x.shape[1:] == first.shape and bool((x == first).all())
        dense = driver.dense() / steps
        macs = [dense if additions is None else 0.0] * steps
        self._by_place[place].append(_Call(root, additions or [0.0] * steps, macs, dense, same))

    def by_layer(self, roots: int) -> dict[str, Products]:
        """Return the operations by module name.

        Args:
            roots: How many times the network was called.
        """
        found: dict[str, Products] = {}
        for (name, _), calls in self._by_place.items():
            layer = found.setdefault(name, Products.none(self.T))
            parts = [call for call in calls if len(call.macs) < self.T]
            for number, call in enumerate(parts):
                layer.add(self._over_steps(call, self._steps_of(call, number, len(parts), roots)))
            for call in calls:
                if len(call.macs) == self.T:
                    layer.add(Products(call.additions, call.macs, call.dense))
            layer.static &= all(call.same for call in calls)
        return found

    def _over_steps(self, call: _Call, steps: range) -> Products:
        """Return the operations of a call without a time axis, which are the same at each of some steps."""
        return Products(
            [call.additions[0] if t in steps else 0.0 for t in range(self.T)],
            [call.macs[0] if t in steps else 0.0 for t in range(self.T)],
            call.dense * len(steps) / self.T,
        )

    def _steps_of(self, call: _Call, number: int, n: int, roots: int) -> range:
        """Return the steps that a call without a time axis stands for, the number-th of n from its place."""
        if roots == self.T:
            return range(call.root - 1, call.root)
        if n % self.T == 0:  # the network goes through the steps itself
            t = number * self.T // n
            return range(t, t + 1)
        return range(self.T)  # computed once, for all steps
