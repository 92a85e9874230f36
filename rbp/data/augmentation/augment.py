"""Random augmentation of a batch of images: crop, flip, roll, AutoAugment and, after normalisation, Cutout.

Every function takes a whole batch and draws the random numbers for each image from a generator on the CPU.
"""

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Generator, Tensor

from rbp.data.transfer import to_device


def augment(pixels: Tensor, how: DictConfig, random: Generator) -> Tensor:
    """Apply crop, flip, roll and AutoAugment as configured in `dataset.augment`.

    Args:
        pixels: Images [B, C, H, W] of any dtype; uint8 [B, 3, H, W] for AutoAugment.
        how: The `dataset.augment` config. Its `cutout` is not applied here (see `blank_squares`).
        random: Generator on the CPU.

    Returns:
        Images of the same shape and dtype.
    """
    if how.crop:
        pixels = crop(pixels, how.crop, random)
    if how.flip:
        pixels = flip(pixels, random)
    if how.get("roll"):
        pixels = roll(pixels, how.roll, random)
    if how.autoaugment:
        # Imported here because it loads torchvision, which takes seconds.
        from rbp.data.augmentation.autoaugment import autoaugment

        pixels = autoaugment(pixels, random)
    return pixels


def crop(pixels: Tensor, padding: int, random: Generator) -> Tensor:
    """Pad every image [B, C, H, W] with `padding` black pixels per side and crop it at a random position."""
    B, _, H, W = pixels.shape
    top, left = to_device(torch.randint(2 * padding + 1, (2, B), generator=random), pixels.device)
    places = F.pad(pixels, [padding] * 4).unfold(2, H, 1).unfold(3, W, 1)  # [B, C, top, left, H, W], a view
    return places[torch.arange(B, device=pixels.device), :, top, left]


def flip(pixels: Tensor, random: Generator) -> Tensor:
    """Flip each image of a batch [B, C, H, W] horizontally with probability 1/2."""
    flipped = to_device(torch.rand(len(pixels), generator=random), pixels.device) < 0.5
    return torch.where(flipped[:, None, None, None], pixels.flip(-1), pixels)


def roll(pixels: Tensor, most: int, random: Generator) -> Tensor:
    """Shift every image [B, C, H, W] by up to `most` pixels along each axis, wrapping around at borders."""
    B, _, H, W = pixels.shape
    down, right = torch.randint(-most, most + 1, (2, B, 1), generator=random)
    rows = to_device((torch.arange(H) - down) % H, pixels.device)  # [B, H]
    columns = to_device((torch.arange(W) - right) % W, pixels.device)
    images = torch.arange(B, device=pixels.device)[:, None, None]
    # Index tensors on both sides of a slice make the sliced axis (the channels) the last one.
    return pixels[images, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()


def blank_squares(x: Tensor, side: int, random: Generator) -> Tensor:
    """Set a square around a random pixel of every image to 0, in place (Cutout, DeVries and Taylor 2017).

    Args:
        x: Normalised images [B, C, H, W], on which 0 is the mean colour.
        side: Side of the square in pixels; 0 changes nothing. The square begins side // 2 pixels before the
            random pixel and is clipped at the border.
        random: Generator on the CPU.
    """
    if side == 0:
        return x
    B, _, H, W = x.shape
    rows = _span(torch.randint(H, (B,), generator=random), side, H)
    columns = _span(torch.randint(W, (B,), generator=random), side, W)
    square = (rows[:, :, None] & columns[:, None, :])[:, None]  # [B, 1, H, W]
    return x.masked_fill_(to_device(square, x.device), 0)


def _span(centres: Tensor, side: int, length: int) -> Tensor:
    """Return a mask [B, length] of the positions within a span of `side` pixels around each centre [B]."""
    first = (centres - side // 2)[:, None]
    positions = torch.arange(length)
    return (positions >= first) & (positions < first + side)
