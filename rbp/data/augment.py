"""Random changes of a batch of images: crop, flip, roll, AutoAugment, and after normalisation Cutout.

Every function takes a whole batch and draws one set of numbers per image from a generator on the CPU.
"""

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Generator, Tensor

from rbp.data.sending import sent


def augment(pixels: Tensor, how: DictConfig, random: Generator) -> Tensor:
    """[B, C, H, W] of any type to the same, changed as `dataset.augment` says."""
    if how.crop:
        pixels = crop(pixels, how.crop, random)
    if how.flip:
        pixels = flip(pixels, random)
    if how.get("roll"):
        pixels = roll(pixels, how.roll, random)
    if how.autoaugment:
        from rbp.data.autoaugment import autoaugment  # loads torchvision: seconds that others need not wait

        pixels = autoaugment(pixels, random)
    return pixels


def crop(pixels: Tensor, padding: int, random: Generator) -> Tensor:
    """Pad every image [B, C, H, W] with black on all sides, and cut its old size out at a random place."""
    B, _, H, W = pixels.shape
    top, left = sent(torch.randint(2 * padding + 1, (2, B), generator=random), pixels.device)
    places = F.pad(pixels, [padding] * 4).unfold(2, H, 1).unfold(3, W, 1)  # [B, C, top, left, H, W], a view
    return places[torch.arange(B, device=pixels.device), :, top, left]


def flip(pixels: Tensor, random: Generator) -> Tensor:
    """Swap left and right of an image [B, C, H, W] with probability 1/2."""
    flipped = sent(torch.rand(len(pixels), generator=random), pixels.device) < 0.5
    return torch.where(flipped[:, None, None, None], pixels.flip(-1), pixels)


def roll(pixels: Tensor, most: int, random: Generator) -> Tensor:
    """Move every image [B, C, H, W] by up to `most` pixels along each axis; what leaves comes in opposite."""
    B, _, H, W = pixels.shape
    down, right = torch.randint(-most, most + 1, (2, B, 1), generator=random)
    rows = sent((torch.arange(H) - down) % H, pixels.device)  # [B, H]
    columns = sent((torch.arange(W) - right) % W, pixels.device)
    images = torch.arange(B, device=pixels.device)[:, None, None]
    # Indices on both sides of a slice put the channels last.
    return pixels[images, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()


def blank_squares(x: Tensor, side: int, random: Generator) -> Tensor:
    """Cutout (DeVries and Taylor 2017): set a square around a random pixel of every image [B, C, H, W] to 0.

    The square reaches from side // 2 before that pixel on; what lies beyond the border is cut off. On
    normalised images 0 is the mean colour. A side of 0 changes nothing.
    """
    if side == 0:
        return x
    B, _, H, W = x.shape
    rows = _span(torch.randint(H, (B,), generator=random), side, H)
    columns = _span(torch.randint(W, (B,), generator=random), side, W)
    square = (rows[:, :, None] & columns[:, None, :])[:, None]  # [B, 1, H, W]
    return x.masked_fill_(sent(square, x.device), 0)


def _span(centres: Tensor, side: int, length: int) -> Tensor:
    """bool [B, length]: which positions lie in the span of this side around each centre [B]."""
    first = (centres - side // 2)[:, None]
    positions = torch.arange(length)
    return (positions >= first) & (positions < first + side)
