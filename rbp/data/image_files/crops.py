"""Which part of an image is shown: a random part in training, the middle in evaluation.

Both are those of torchvision's usual transforms for ImageNet, and the random numbers are drawn in the same
order as by its RandomResizedCrop and RandomHorizontalFlip, so that they can be compared.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator

_TRIES = 10  # to fit a random shape into the image
_NARROWEST = 3 / 4  # width over height of a random crop; the widest is its inverse


@dataclass(frozen=True)
class Crop:
    """A part of an image, in whole pixels."""

    left: int
    top: int
    width: int
    height: int


def random_crop(width: int, height: int, smallest: float, random: Generator) -> Crop:
    """Draw a part of random size and shape (Szegedy et al. 2015).

    Args:
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        smallest: Smallest share of the area; the largest is 1.
        random: Generator on the CPU.
    """
    # The logarithm in float32, as torchvision has it, so that both draw the same to the bit.
    narrow, wide = torch.log(torch.tensor([_NARROWEST, 1 / _NARROWEST])).tolist()
    for _ in range(_TRIES):
        area = width * height * _uniform(smallest, 1.0, random).item()
        ratio = torch.exp(_uniform(narrow, wide, random)).item()
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(height - h + 1, (1,), generator=random))
            left = int(torch.randint(width - w + 1, (1,), generator=random))
            return Crop(left, top, w, h)
    # The largest part in the middle whose shape is allowed.
    w, h = min(width, round(height / _NARROWEST)), min(height, round(width / _NARROWEST))
    return Crop((width - w) // 2, (height - h) // 2, w, h)


def random_flip(random: Generator) -> bool:
    """Draw whether to flip, with probability 1/2."""
    return bool(torch.rand(1, generator=random) < 0.5)


def centre_crop(width: int, height: int, w: int, h: int) -> Crop:
    """Return the middle w x h pixels of an image."""
    return Crop(round((width - w) / 2), round((height - h) / 2), w, h)


def resized(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return width and height once the shorter side is `short_side`; the longer one is rounded down."""
    short = min(width, height)
    w, h = (short_side if side == short else int(short_side * side / short) for side in (width, height))
    return w, h


def _uniform(low: float, high: float, random: Generator) -> torch.Tensor:
    return torch.empty(1).uniform_(low, high, generator=random)
