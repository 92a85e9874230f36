"""Batches of normalised images, built on the device that holds the images.

The content of a batch is a pure function of (seed, epoch, batch number). Its few random numbers per image
come from separate random streams on the CPU. So every device, step mode and gradient mode sees the same
images, and a run that resumes in mid-epoch continues with the batches it would have had.
"""

from collections.abc import Iterator

import torch
from omegaconf import DictConfig
from torch import Tensor

from rbp.data.augment import augment, blank_squares
from rbp.data.images import Images
from rbp.data.transfer import to_device
from rbp.seeds import stream

Batch = tuple[Tensor, Tensor]  # x float32 [B, C, H, W], or [B, T, C, H, W] for frames; y int64 [B]


def n_train_batches(images: Images, batch_size: int) -> int:
    """Return the number of training batches per epoch.

    A smaller last batch is included unless it is a single image, which has no variance over the batch.
    """
    full, rest = divmod(len(images), batch_size)
    return full + (rest > 1)


def train_batches(
    images: Images, dataset: DictConfig, *, batch_size: int, seed: int, epoch: int, start: int = 0
) -> Iterator[Batch]:
    """Yield the shuffled and augmented batches of one epoch.

    Args:
        images: Training images.
        dataset: The `dataset` config, which gives the augmentation and the normalisation.
        batch_size: Number of images per batch.
        seed: Seed of the run.
        epoch: Number of the epoch.
        start: Number of the first batch to yield, for a run that resumes in mid-epoch.

    Yields:
        (x float32 [B, C, H, W], y int64 [B]) on the device of the images. x is [B, T, C, H, W] if the images
        are frames; all frames of a recording are augmented alike.
    """
    order = to_device(
        torch.randperm(len(images), generator=stream(seed, "order", epoch)), images.labels.device
    )
    mean, std = _mean_and_std(images, dataset)
    for batch in range(start, n_train_batches(images, batch_size)):
        chosen = images.take(order[batch * batch_size : (batch + 1) * batch_size])
        random = stream(seed, "augment", epoch, batch)
        shape = chosen.pixels.shape
        pixels = augment(_as_one(chosen.pixels), dataset.augment, random).view(shape)
        x = _normalise(pixels, images.levels, mean, std)
        yield blank_squares(_as_one(x), dataset.augment.cutout, random).view(shape), chosen.labels


def eval_batches(images: Images, dataset: DictConfig, *, batch_size: int) -> Iterator[Batch]:
    """Yield every image once, in the order of the files and without augmentation.

    Yields:
        (x float32 [B, C, H, W], y int64 [B]) on the device of the images; x is [B, T, C, H, W] for frames.
    """
    mean, std = _mean_and_std(images, dataset)
    for pixels, labels in zip(images.pixels.split(batch_size), images.labels.split(batch_size), strict=True):
        # Copied, as in training, so that a batch never shares memory with the data set.
        yield _normalise(pixels, images.levels, mean, std), labels.clone()


def _as_one(images: Tensor) -> Tensor:
    """Merge frames [B, T, C, H, W] into T * C channels so that all are augmented alike; keep other images."""
    return images.flatten(1, 2) if images.dim() == 5 else images


def _mean_and_std(images: Images, dataset: DictConfig) -> tuple[Tensor, Tensor]:
    """Return mean and std [C, 1, 1] on the images' device, to send them once per epoch, not per batch."""
    both = (torch.tensor(list(numbers))[:, None, None] for numbers in (dataset.mean, dataset.std))
    mean, std = (to_device(numbers, images.pixels.device) for numbers in both)
    return mean, std


def _normalise(pixels: Tensor, levels: int, mean: Tensor, std: Tensor) -> Tensor:
    return pixels.to(torch.float32, copy=True).div_(levels).sub_(mean).div_(std)
