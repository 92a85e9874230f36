"""Resize frames, by exact area averaging or as the published code does it."""

import math
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_EXACT = 2**24  # whole numbers up to here are exact in float32


def levels(side: int, size: int) -> int:
    """Return the factor by which `shrink` multiplies averages to make them whole numbers."""
    return (side // math.gcd(side, size)) ** 2


def shrink(counts: np.ndarray, size: int) -> np.ndarray:
    """Return the mean over the area that each new pixel covers, times `levels`.

    A new pixel covers side/size old ones in each direction, the outer ones only in part. Each covered share
    is a multiple of gcd(side, size)/size, so that sums of whole counts, multiplied by `levels`, stay whole.

    Args:
        counts: float32 [..., side, side].
        size: Side of the result in pixels.

    Returns:
        float32 [..., size, size], or float64 where float32 would not be exact; `counts` itself if
        side == size.
    """
    side = counts.shape[-1]
    if side == size:
        return counts
    x = torch.from_numpy(counts)
    if float(counts.max(initial=0)) * levels(side, size) >= _EXACT:
        x = x.double()
    period, whole = (weights.to(x.dtype) for weights in _weights(side, size))
    # By period rather than with the whole block-diagonal matrix, to multiply fewer zeros.
    rows = period @ x.reshape(-1, side // period.shape[1], period.shape[1], side)
    return (rows.reshape(*x.shape[:-2], size, side) @ whole.T).numpy()


@lru_cache
def _weights(side: int, size: int) -> tuple[Tensor, Tensor]:
    """Return how much of each old pixel lies in each new one: for one period of the pattern, and in full."""
    period = _overlaps(side, size)
    return period, torch.block_diag(*[period] * math.gcd(side, size))


def _overlaps(side: int, size: int) -> Tensor:
    """Return the lengths of the overlaps over the first period: whole numbers, float32 [new, old]."""
    groups = math.gcd(side, size)
    old, new = side // groups, size // groups  # new pixels are `old` long and old ones `new`
    starts, ends = torch.arange(new)[:, None] * old, torch.arange(1, new + 1)[:, None] * old
    left, right = torch.arange(old) * new, torch.arange(1, old + 1) * new
    return (torch.minimum(ends, right) - torch.maximum(starts, left)).clamp(min=0).float()


PAPER_LEVELS = 255


def resize_as_published(counts: np.ndarray, size: int) -> np.ndarray:
    """Resize frames as the published code does, by way of 8-bit images.

    Each frame becomes an 8-bit image of two bands with the value 255 * count modulo 256: one event gives 255,
    two give 254. Pillow treats the second band as opacity and weights the first band by it when it resizes.

    Args:
        counts: Whole numbers [T, 2, H, W].
        size: Side of the result in pixels.

    Returns:
        uint8 [T, 2, size, size], to be divided by PAPER_LEVELS.
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
