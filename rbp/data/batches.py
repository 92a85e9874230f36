"""Batches of normalised images, made on the device that the images are on.

What a batch holds is a pure function of (seed, epoch, batch number): random numbers come from streams of
their own on the CPU, a few per image, so that every device, step mode and gradient mode sees the same images,
and a run that resumes in mid-epoch goes on with the batches it would have had.
"""

from collections.abc import Iterator

import torch
from omegaconf import DictConfig
from torch import Tensor

from rbp.data.augment import augment, blank_squares
from rbp.data.images import Images
from rbp.data.sending import sent
from rbp.seeds import stream

Batch = tuple[Tensor, Tensor]  # x float32 [B, C, H, W] or, of frames, [B, T, C, H, W]; y int64 [B]


def n_train_batches(images: Images, batch_size: int) -> int:
    """Batches in an epoch. A last smaller batch counts, unless it is one image left over: no variance."""
    full, rest = divmod(len(images), batch_size)
    return full + (rest > 1)


def train_batches(
    images: Images, dataset: DictConfig, *, batch_size: int, seed: int, epoch: int, start: int = 0
) -> Iterator[Batch]:
    """The batches of one epoch from number `start` on, shuffled and augmented as `dataset.augment` says.

    Gives (x float32 [B, C, H, W], y int64 [B]) on the device of the images; x [B, T, C, H, W] where the
    images are frames, all of a recording augmented alike.
    """
    order = sent(torch.randperm(len(images), generator=stream(seed, "order", epoch)), images.labels.device)
    mean, std = _mean_and_std(images, dataset)
    for batch in range(start, n_train_batches(images, batch_size)):
        chosen = images.take(order[batch * batch_size : (batch + 1) * batch_size])
        random = stream(seed, "augment", epoch, batch)
        shape = chosen.pixels.shape
        pixels = augment(_as_one(chosen.pixels), dataset.augment, random).view(shape)
        x = _normalise(pixels, images.levels, mean, std)
        yield blank_squares(_as_one(x), dataset.augment.cutout, random).view(shape), chosen.labels


def eval_batches(images: Images, dataset: DictConfig, *, batch_size: int) -> Iterator[Batch]:
    """Every image once, in the order of the files, as it is: (x float32 [B, C, H, W], y int64 [B])."""
    mean, std = _mean_and_std(images, dataset)
    for pixels, labels in zip(images.pixels.split(batch_size), images.labels.split(batch_size), strict=True):
        yield _normalise(pixels, images.levels, mean, std), labels.clone()  # a copy, as in training


def _as_one(images: Tensor) -> Tensor:
    """Frames [B, T, C, H, W] as images of T * C channels, so that all are changed alike; others unchanged."""
    return images.flatten(1, 2) if images.dim() == 5 else images


def _mean_and_std(images: Images, dataset: DictConfig) -> tuple[Tensor, Tensor]:
    """[C, 1, 1] each, on the images' device: sent once an epoch, not once a batch."""
    both = (torch.tensor(list(numbers))[:, None, None] for numbers in (dataset.mean, dataset.std))
    mean, std = (sent(numbers, images.pixels.device) for numbers in both)
    return mean, std


def _normalise(pixels: Tensor, levels: int, mean: Tensor, std: Tensor) -> Tensor:
    return pixels.to(torch.float32, copy=True).div_(levels).sub_(mean).div_(std)
