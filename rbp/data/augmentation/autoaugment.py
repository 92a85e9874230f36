"""AutoAugment (Cubuk et al. 2019) with the policy found for CIFAR-10, applied to a whole batch at once.

torchvision's AutoAugment transforms one image at a time. Here the images of a batch that get the same
operation with the same magnitude and sign are transformed together, with torchvision's functions.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as F

from rbp.data.augmentation.autoaugment_policy import POLICY, magnitudes
from rbp.data.transfer import to_device

Operation = tuple[str, float]  # name, signed magnitude
_NOTHING: Operation = ("Identity", 0.0)


def autoaugment(pixels: Tensor, random: Generator) -> Tensor:
    """Transform each image of a batch uint8 [B, 3, H, W] with one of 25 random sub-policies.

    A sub-policy consists of two operations, each of which is applied with a probability of its own.
    """
    B, _, H, W = pixels.shape
    for wanted in choose(B, H, W, random):
        pixels = _apply_grouped(pixels, wanted)
    return pixels


def choose(n: int, H: int, W: int, random: Generator) -> tuple[list[Operation], list[Operation]]:
    """Draw the first and the second operation for each of n images of H x W pixels.

    Each operation is applied with the probability given by its sub-policy, and is the identity otherwise.
    Operations with a direction (rotate, brighten, ...) go either way equally often.

    Returns:
        Two lists of n operations.
    """
    table = _sub_policies(H, W)
    policy = torch.randint(len(table), (n,), generator=random).tolist()
    chance = torch.rand(2, n, generator=random).tolist()
    way = torch.randint(2, (2, n), generator=random).tolist()

    def operation(step: int, image: int) -> Operation:
        probability, ways = table[policy[image]][step]
        return ways[way[step][image]] if chance[step][image] < probability else _NOTHING

    first, second = ([operation(step, image) for image in range(n)] for step in range(2))
    return first, second


@lru_cache
def _sub_policies(H: int, W: int) -> list[tuple[tuple[float, tuple[Operation, Operation]], ...]]:
    """Return the two steps of each sub-policy as (probability, (operation, operation in reverse))."""
    return [
        tuple((probability, _both_ways(name, level, H, W)) for name, probability, level in steps)
        for steps in POLICY
    ]


def _both_ways(name: str, level: int | None, H: int, W: int) -> tuple[Operation, Operation]:
    of_levels, has_direction = magnitudes(name, H, W)
    magnitude = 0.0 if level is None else float(of_levels[level])
    return (name, magnitude), (name, -magnitude if has_direction else magnitude)


def _apply_grouped(pixels: Tensor, wanted: list[Operation]) -> Tensor:
    """Apply to each image of [B, 3, H, W] its operation of `wanted`."""
    # Sorting by operation makes each group a slice: two permutations of the batch replace an indexed copy of
    # every group.
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    by_group = to_device(torch.tensor(order), pixels.device)
    grouped = pixels[by_group]
    first = 0
    while first < len(order):
        operation = wanted[order[first]]
        end = first + 1
        while end < len(order) and wanted[order[end]] == operation:
            end += 1
        grouped[first:end] = apply(grouped[first:end], operation)
        first = end
    return torch.empty_like(grouped).index_copy_(0, by_group, grouped)


def apply(pixels: Tensor, operation: Operation) -> Tensor:
    """Apply one operation to all images uint8 [B, 3, H, W]."""
    name, magnitude = operation
    return pixels if operation == _NOTHING else _OPERATIONS[name](pixels, magnitude)


def _shear_y(x: Tensor, tangent: float) -> Tensor:
    degrees = math.degrees(math.atan(tangent))
    return F.affine(x, angle=0.0, translate=[0, 0], scale=1.0, shear=[0.0, degrees], center=[0, 0])


def _shift(x: Tensor, right: float, down: float) -> Tensor:
    return F.affine(x, angle=0.0, translate=[int(right), int(down)], scale=1.0, shear=[0.0, 0.0])


_OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "ShearY": _shear_y,
    "TranslateX": lambda x, pixels: _shift(x, pixels, 0),
    "TranslateY": lambda x, pixels: _shift(x, 0, pixels),
    "Rotate": lambda x, degrees: F.rotate(x, degrees),
    "Brightness": lambda x, more: F.adjust_brightness(x, 1.0 + more),
    "Color": lambda x, more: F.adjust_saturation(x, 1.0 + more),
    "Contrast": lambda x, more: F.adjust_contrast(x, 1.0 + more),
    "Sharpness": lambda x, more: F.adjust_sharpness(x, 1.0 + more),
    "Posterize": lambda x, bits: F.posterize(x, int(bits)),
    "Solarize": lambda x, threshold: F.solarize(x, 255 * threshold),
    "AutoContrast": lambda x, _: F.autocontrast(x),
    "Equalize": lambda x, _: F.equalize(x),
    "Invert": lambda x, _: F.invert(x),
}
