"""Containers of labelled images, static or as frames of event recordings.

A static image is stored once, whatever T is: the network repeats it over the time steps. Frames (T per
recording) may be memory-mapped, in which case they are read from disk when they are indexed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from rbp.data.image_files.files_and_labels import ImageFiles
from rbp.data.transfer import to_device


@dataclass(frozen=True)
class Images:
    """N labelled images on one device.

    The tensors are shared within a process, so they must never be written to.

    Attributes:
        pixels: uint8 [N, C, H, W], or frames [N, T, C, H, W] of uint8, int16, int32 or float32.
        labels: int64 [N].
        levels: Divisor that turns `pixels` into intensities in [0, 1], or into event counts.
    """

    pixels: Tensor
    labels: Tensor
    levels: int = 255

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Images:
        """Return the images on another device."""
        return Images(self.pixels.to(device), self.labels.to(device), self.levels)

    def take(self, indices: Tensor) -> Self:
        """Return the images at the positions `indices`, int64 [n], in that order."""
        indices = to_device(indices, self.labels.device)
        return replace(self, pixels=self.pixels[indices], labels=self.labels[indices])


@dataclass(frozen=True)
class Splits:
    """The training set, the validation set held out of it (None if not requested), and the test set."""

    train: Images | ImageFiles
    val: Images | ImageFiles | None
    test: Images | ImageFiles
