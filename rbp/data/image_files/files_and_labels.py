"""The files and labels of one part of a data set; the images are decoded when a batch is made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from rbp.data.image_files.settings import FileSettings
from rbp.data.transfer import to_device


@dataclass(frozen=True)
class Names:
    """The names of many files in two arrays: a million strings of Python would take four times the memory.

    Attributes:
        text: uint8, the names one after the other, each followed by a line feed.
        ends: int64 [N], the position of each name's line feed.
    """

    text: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, text: bytes) -> Names:
        """Return the names in a text of one name a line."""
        held = np.frombuffer(text, np.uint8)
        return cls(held, np.flatnonzero(held == ord("\n")))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> str:
        first = self.ends[number - 1] + 1 if number else 0
        return self.text[first : self.ends[number]].tobytes().decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class ImageFiles:
    """N labelled image files, and the device for which batches of them are made.

    Attributes:
        folder: The folder with the class folders.
        names: Names of all files of the folder, as CLASS/FILE.
        numbers: int64 [N], the position of each image among `names`; it also names the image's random stream.
        labels: int64 [N], on the device.
        settings: How the files become images.
    """

    folder: Path
    names: Names
    numbers: Tensor
    labels: Tensor
    settings: FileSettings

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """The device for which batches are made."""
        return self.labels.device

    def to(self, device: torch.device | str) -> ImageFiles:
        """Return the same files, of which batches are made for another device."""
        return replace(self, labels=self.labels.to(device))

    def take(self, indices: Tensor) -> Self:
        """Return the images at the positions `indices`, int64 [n], in that order."""
        labels = self.labels[to_device(indices, self.device)]
        return replace(self, numbers=self.numbers[indices.cpu()], labels=labels)

    def path(self, number: int) -> Path:
        """Return the path of the file at a position among `names`."""
        return self.folder / self.names[number]
