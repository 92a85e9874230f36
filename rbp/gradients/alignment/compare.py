"""Compare gradients: their cosine and the ratio of their norms, of each layer and of all layers together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import torch
from torch import Tensor

from rbp.alignment import ALL

Gradients = Mapping[str, Tensor]  # by parameter name


class Statistic(NamedTuple):
    """The mean over batches, of those where the value exists.

    Attributes:
        mean: The mean; None if it exists nowhere.
        std: The standard deviation over batches; None with fewer than two.
        n: The number of batches.
    """

    mean: float | None
    std: float | None
    n: int


class Comparison(NamedTuple):
    """Two gradients of one layer.

    Attributes:
        cosine: The cosine of the angle between them; None if one of them is 0 or not finite.
        norm: The norm of the first as a share of that of the second; None if the second is 0, or one of them
            not finite.
    """

    cosine: float | None
    norm: float | None


def layer_of(parameter: str) -> str:
    """Return the module that a parameter belongs to, by its path; "" for the network itself.

    A module named `all` gets a dot after its name.
    """
    layer = parameter.rpartition(".")[0]
    return f"{layer}." if layer == ALL else layer


def compare(one: Gradients, other: Gradients, names: Sequence[str]) -> dict[str, Comparison]:
    """Compare two gradients by layer, and under `ALL` as a whole. Sums are in float64.

    Args:
        one: A gradient; a parameter without any has gradient 0.
        other: The gradient that it is compared with, likewise.
        names: The parameters to compare, in the order of the layers.
    """
    products = _products(one, other, names)
    sums: dict[str, list[float]] = {ALL: [0.0, 0.0, 0.0]}
    for name, values in zip(names, products, strict=True):
        for layer in (ALL, layer_of(name)):
            own = sums.setdefault(layer, [0.0, 0.0, 0.0])
            own[:] = [a + b for a, b in zip(own, values, strict=True)]
    return {layer: _comparison(*values) for layer, values in sums.items()}


def _products(one: Gradients, other: Gradients, names: Sequence[str]) -> list[list[float]]:
    """Return the product of both gradients of each parameter, and the square of each."""
    rows, nothing = [], next(iter(other.values()), torch.zeros(1)).new_zeros(1)
    for name in names:
        zero = torch.zeros_like(one.get(name, other.get(name, nothing)))
        a, b = (of.get(name, zero).double().flatten() for of in (one, other))
        rows.append(torch.stack([a @ b, a @ a, b @ b]))
    found: list[list[float]] = torch.stack(rows).tolist() if rows else []  # one transfer from a GPU
    return found


def _comparison(product: float, one: float, other: float) -> Comparison:
    if not (math.isfinite(product) and math.isfinite(one) and math.isfinite(other)) or other == 0:
        return Comparison(None, None)
    norms = math.sqrt(one) * math.sqrt(other)
    return Comparison(product / norms if norms else None, math.sqrt(one) / math.sqrt(other))


def statistic(values: Iterable[float | None]) -> Statistic:
    """Return the mean and standard deviation of the values that exist."""
    known = [value for value in values if value is not None]
    return Statistic(fmean(known) if known else None, stdev(known) if len(known) > 1 else None, len(known))
