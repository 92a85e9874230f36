"""The additions and multiply-accumulates of a product, given the values that drive it."""

from __future__ import annotations

import torch
from torch import Tensor

from rbp.train.operations.divisors import Divisor, fits
from rbp.train.operations.products import Driver


def dense(driver: Driver) -> float:
    """Return the multiply-accumulates if every value counts."""
    if isinstance(driver.reach, float):
        return driver.x.numel() * driver.reach
    return float(driver.reach.sum()) * driver.channels * driver.x.numel() / driver.reach.numel()


def additions(driver: Driver, divisors: list[Divisor]) -> list[float] | None:
    """Return the additions at each step: a whole number n makes n of them in each of its products.

    Args:
        driver: Its x is [t, n, ...].
        divisors: What the last average pools divide by, which may be folded into the weights.

    Returns:
        One number a step; None if x is not made of whole numbers, nor becomes so by undoing a division.
    """
    spikes = _as_spikes(driver.x, divisors)
    if spikes is None:
        return None
    of_images = spikes.abs().sum(1, dtype=torch.float32).double()  # over few images, float32 is exact
    if isinstance(driver.reach, float):
        return [n * driver.reach for n in of_images.flatten(1).sum(1).tolist()]
    by_place = of_images.flatten(1, -driver.reach.dim() - 1).sum(1).flatten(1)
    return [n * driver.channels for n in (by_place @ driver.reach.flatten()).tolist()]


def _as_spikes(x: Tensor, divisors: list[Divisor]) -> Tensor | None:
    x = x if x.is_floating_point() else x.double()
    if float(x.frac().abs().sum()) == 0:  # a sum takes a third of the time of any()
        return x
    numbers = [divisor for divisor in divisors if isinstance(divisor, float)]
    both = [numbers[0] * numbers[1]] if len(numbers) == 2 else []  # two pools without a neuron between them
    for divisor in (*divisors, *both):
        if (n := fits(divisor, x)) is not None:
            spikes = x.float() * n
            near = spikes.round()
            if bool(((spikes - near).abs() <= torch.finfo(x.dtype).eps * spikes.abs()).all()):
                return near
    return None
