"""Batches of image files: decoded and augmented in worker processes, normalised on the device.

What a training image looks like is a pure function of (seed, epoch, the file's number): each image has a
random stream of its own, whoever decodes it and with whichever others.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from rbp.data.image_files.crops import random_flip
from rbp.data.image_files.decode import centre_view, random_view
from rbp.data.image_files.files_and_labels import ImageFiles
from rbp.data.image_files.workers import in_workers
from rbp.data.transfer import to_device
from rbp.seeds import stream

LEVELS = 255  # divisor that turns pixels into intensities in [0, 1]
_PIECE = 32  # images that a worker decodes at once; what waits in memory is some pieces, not whole batches


def training_pixels(
    images: ImageFiles, batches: Sequence[Tensor], *, seed: int, epoch: int
) -> Iterator[Tensor]:
    """Yield the augmented images of each batch, uint8 [n, 3, size, size], on the images' device.

    Args:
        images: The training images.
        batches: Positions of each batch's images, int64 [n].
        seed: Seed of the run.
        epoch: Number of the epoch.
    """

    def view(number: int) -> Tensor:
        how, random = images.settings, stream(seed, "augment", epoch, number)
        path = images.path(number)
        if how.smallest_crop is not None:
            return random_view(path, how.size, how.smallest_crop, how.flip, random)
        square = centre_view(path, how.size, how.short_side)
        return square.flip(-1) if how.flip and random_flip(random) else square

    yield from _decoded(images, batches, view)


def evaluation_pixels(images: ImageFiles, batches: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the centre crops of each batch, uint8 [n, 3, size, size], on the images' device."""
    how = images.settings
    yield from _decoded(
        images, batches, lambda number: centre_view(images.path(number), how.size, how.short_side)
    )


def _decoded(
    images: ImageFiles, batches: Sequence[Tensor], view: Callable[[int], Tensor]
) -> Iterator[Tensor]:
    """Yield what `view` returns for each batch's images, stacked; it is called with the files' numbers."""
    # As arrays: they are jobs, which must not be tensors, and lists would take four times the memory.
    pieces = [[piece.numpy() for piece in images.numbers[batch].split(_PIECE)] for batch in batches]

    def decode(numbers: np.ndarray) -> Tensor:
        return torch.stack([view(number) for number in numbers.tolist()])

    jobs = [piece for batch in pieces for piece in batch]
    decoded = in_workers(decode, jobs, images.settings.workers, pin=images.device.type == "cuda")
    for batch in pieces:
        # Sent piece by piece: what is on the device already need not be joined on the CPU.
        yield torch.cat([to_device(next(decoded), images.device) for _ in batch])
