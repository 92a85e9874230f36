"""Images, static or as frames. A static image is stored once, whatever T is: repeating it is the network's
business. Frames, T of them for each recording, may be memory-mapped: they are read where they are taken."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rbp.data.sending import sent


@dataclass(frozen=True)
class Images:
    """N labelled images on one device. They are shared within a process: read them, never write to them."""

    pixels: Tensor  # uint8 [N, C, H, W], or frames [N, T, C, H, W] of uint8, int16, int32 or float32
    labels: Tensor  # int64 [N]
    levels: int = 255  # pixels / levels are shades from 0 to 1, or event counts

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Images:
        return Images(self.pixels.to(device), self.labels.to(device), self.levels)

    def take(self, indices: Tensor) -> Images:
        """The images at these positions, int64 [n], in this order."""
        indices = sent(indices, self.labels.device)
        return Images(self.pixels[indices], self.labels[indices], self.levels)


@dataclass(frozen=True)
class Splits:
    """What is trained on, what is held out of it (if asked for), and what the files keep for testing."""

    train: Images
    val: Images | None
    test: Images
