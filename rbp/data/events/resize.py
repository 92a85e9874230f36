"""Frames at another size, by area averaging or as the published code does it."""

import math
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_EXACT = 2**24  # whole numbers up to here are exact in float32


def levels(side: int, size: int) -> int:
    """What `shrink` multiplies averages by to make them whole numbers."""
    return (side // math.gcd(side, size)) ** 2


def shrink(counts: np.ndarray, size: int) -> np.ndarray:
    """The mean over the area that each new pixel covers, times `levels`: float [..., size, size], exact.

    counts: float32 [..., side, side]. A new pixel covers side/size old ones in each direction, the outer ones
    in part: their share is a whole number of gcd(side, size)/size, so that sums of whole counts stay whole.
    """
    side = counts.shape[-1]
    if side == size:
        return counts
    x = torch.from_numpy(counts)
    if float(counts.max(initial=0)) * levels(side, size) >= _EXACT:
        x = x.double()
    period, whole = (weights.to(x.dtype) for weights in _weights(side, size))
    rows = period @ x.reshape(-1, side // period.shape[1], period.shape[1], side)  # fewer zeros to multiply
    return (rows.reshape(*x.shape[:-2], size, side) @ whole.T).numpy()


@lru_cache
def _weights(side: int, size: int) -> tuple[Tensor, Tensor]:
    """How much of each old pixel lies in each new one: over one period of the pattern, and over all of it."""
    period = _overlaps(side, size)
    return period, torch.block_diag(*[period] * math.gcd(side, size))


def _overlaps(side: int, size: int) -> Tensor:
    """Lengths in whole numbers, float32 [new, old], over the first period."""
    groups = math.gcd(side, size)
    old, new = side // groups, size // groups  # new pixels are `old` long and old ones `new`
    starts, ends = torch.arange(new)[:, None] * old, torch.arange(1, new + 1)[:, None] * old
    left, right = torch.arange(old) * new, torch.arange(1, old + 1) * new
    return (torch.minimum(ends, right) - torch.maximum(starts, left)).clamp(min=0).float()


PAPER_LEVELS = 255


def through_images(counts: np.ndarray, size: int) -> np.ndarray:
    """The published code's input: uint8 [T, 2, size, size] from whole counts [T, 2, H, W], values of 255.

    Each frame is made an 8-bit image of two bands, shade 255 * count modulo 256: one event is 255, two are
    254. The image library takes the second band for opacity: it weights the first by it when it resizes.
    """
    shades = (counts.astype(np.int64) * 255 % 256).astype(np.uint8)
    resized = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)), "LA").resize(
                (size, size), Image.Resampling.BILINEAR
            )
        )
        for frame in shades
    ]
    return np.stack(resized).transpose(0, 3, 1, 2)
