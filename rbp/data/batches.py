"""Batches of normalised images, on the device of the images.

The content of a batch is a pure function of (seed, epoch, batch number). Its few random numbers per image
come from random streams on the CPU: one of the batch, or one of each image if the images are files. So every
device, step mode and gradient mode sees the same images, and a run that resumes in mid-epoch continues with
the batches it would have had.
"""

from collections.abc import Iterator, Sequence

import torch
from omegaconf import DictConfig
from torch import Tensor

from rbp.data.augmentation.augment import augment, blank_squares
from rbp.data.image_files.batches import LEVELS, evaluation_pixels, training_pixels
from rbp.data.image_files.files_and_labels import ImageFiles
from rbp.data.images import Images
from rbp.data.transfer import to_device
from rbp.seeds import stream

Batch = tuple[Tensor, Tensor]  # x float32 [B, C, H, W], or [B, T, C, H, W] for frames; y int64 [B]


def n_train_batches(images: Images | ImageFiles, batch_size: int) -> int:
    """Return the number of training batches per epoch.

    A smaller last batch is included unless it is a single image, which has no variance over the batch.
    """
    full, rest = divmod(len(images), batch_size)
    return full + (rest > 1)


def train_batches(
    images: Images | ImageFiles,
    dataset: DictConfig,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    start: int = 0,
    wanted: Sequence[Tensor | None] | None = None,
) -> Iterator[Batch]:
    """Yield the shuffled and augmented batches of one epoch.

    Args:
        images: Training images.
        dataset: The `dataset` config, which gives the augmentation and the normalisation.
        batch_size: Number of images per batch.
        seed: Seed of the run.
        epoch: Number of the epoch.
        start: Number of the first batch to yield, for a run that resumes in mid-epoch.
        wanted: For each batch to yield, the positions in it, int64 [n], of the images that are wanted, or
            None for all; files of other images are not read. None yields whole batches to the epoch's end.

    Yields:
        (x float32 [B, C, H, W], y int64 [B]) on the device of the images. x is [B, T, C, H, W] if the images
        are frames; all frames of a recording are augmented alike.
    """
    order = torch.randperm(len(images), generator=stream(seed, "order", epoch))
    if isinstance(images, Images):
        order = to_device(order, images.labels.device)  # once per epoch, not per batch
    if wanted is None:
        wanted = [None] * (n_train_batches(images, batch_size) - start)
    numbers = range(start, start + len(wanted))
    batches = [order[n * batch_size : (n + 1) * batch_size] for n in numbers]
    if isinstance(images, ImageFiles):
        own = [batch if some is None else batch[some] for batch, some in zip(batches, wanted, strict=True)]
        decoded = training_pixels(images, own, seed=seed, epoch=epoch)
        yield from _of_files(images, dataset, own, decoded)
        return
    mean, std = _mean_and_std(images.pixels.device, dataset)
    for n, batch, some in zip(numbers, batches, wanted, strict=True):
        taken = images.take(batch)
        random = stream(seed, "augment", epoch, n)
        shape = taken.pixels.shape
        pixels = augment(_as_one(taken.pixels), dataset.augment, random).view(shape)
        x = _normalise(pixels, images.levels, mean, std)
        x = blank_squares(_as_one(x), dataset.augment.cutout, random).view(shape)
        if some is None:
            yield x, taken.labels
        else:
            some = to_device(some, x.device)
            yield x[some], taken.labels[some]


def eval_batches(
    images: Images | ImageFiles, dataset: DictConfig, *, batch_size: int, numbers: range | None = None
) -> Iterator[Batch]:
    """Yield every image once, in the order of the files and without augmentation.

    Args:
        images: Images to evaluate on.
        dataset: The `dataset` config, which gives the normalisation.
        batch_size: Number of images per batch.
        numbers: Numbers of the batches to yield; None for all.

    Yields:
        (x float32 [B, C, H, W], y int64 [B]) on the device of the images; x is [B, T, C, H, W] for frames.
    """
    numbers = range(-(-len(images) // batch_size)) if numbers is None else numbers
    parts = [slice(n * batch_size, (n + 1) * batch_size) for n in numbers]
    if isinstance(images, ImageFiles):
        batches = [torch.arange(len(images))[part] for part in parts]
        yield from _of_files(images, dataset, batches, evaluation_pixels(images, batches))
        return
    mean, std = _mean_and_std(images.pixels.device, dataset)
    for part in parts:
        # Copied, as in training, so that a batch never shares memory with the data set.
        yield _normalise(images.pixels[part], images.levels, mean, std), images.labels[part].clone()


def _of_files(
    images: ImageFiles, dataset: DictConfig, batches: list[Tensor], decoded: Iterator[Tensor]
) -> Iterator[Batch]:
    """Yield batches of image files, of their positions [n] and decoded pixels."""
    mean, std = _mean_and_std(images.device, dataset)
    for batch, pixels in zip(batches, decoded, strict=True):
        yield _normalise(pixels, LEVELS, mean, std), images.labels[to_device(batch, images.device)]


def _as_one(images: Tensor) -> Tensor:
    """Merge frames [B, T, C, H, W] into T * C channels so that all are augmented alike; keep other images."""
    return images.flatten(1, 2) if images.dim() == 5 else images


def _mean_and_std(device: torch.device, dataset: DictConfig) -> tuple[Tensor, Tensor]:
    """Return mean and std [C, 1, 1] on a device, to send them once per epoch, not per batch."""
    both = (torch.tensor(list(numbers))[:, None, None] for numbers in (dataset.mean, dataset.std))
    mean, std = (to_device(numbers, device) for numbers in both)
    return mean, std


def _normalise(pixels: Tensor, levels: int, mean: Tensor, std: Tensor) -> Tensor:
    return pixels.to(torch.float32, copy=True).div_(levels).sub_(mean).div_(std)
