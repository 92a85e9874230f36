"""`rbp data speed`: how many images a second one core reads, by rbp and by torchvision, from the same files.

Both read the same files in turns, in one process with one thread, from the file to a normalised batch. The
processor's time is counted, so that other work on the machine matters little.
"""

import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from rbp.data import ImageFiles, eval_batches, load, train_batches
from rbp.errors import ConfigError

_BATCH = 32


def measure(dataset: DictConfig, images: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Return images per second of processor time, by torchvision and by rbp.

    Args:
        dataset: The `dataset` config of image files, with `workers` 0.
        images: Number of files to read of each part.
        rounds: Times that each reads them after a first, uncounted one; medians are returned.

    Returns:
        (torchvision's, rbp's) of "training" and "evaluation" transforms.

    Raises:
        ConfigError: The data set is not one of image files, its training images are not cropped at random, or
            fewer than two images are to be read.
    """
    if dataset.get("short_side") is None or dataset.augment.get("resized_crop") is None:
        raise ConfigError(
            f"dataset={dataset.name}: must be image files with dataset.augment.resized_crop set"
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        parts = load(dataset)
        return {
            "training": _compare(dataset, parts.train, images, rounds, True),
            "evaluation": _compare(dataset, parts.test, images, rounds, False),
        }
    finally:
        torch.set_num_threads(threads)


def _compare(
    dataset: DictConfig, files: Any, images: int, rounds: int, training: bool
) -> tuple[float, float]:
    assert isinstance(files, ImageFiles)
    some = files.take(torch.linspace(0, len(files) - 1, min(images, len(files))).long().unique())
    if len(some) < 2:
        raise ConfigError(
            f"{files.folder}: {len(some)} image is to be read (--images); must be 2 or more, as rbp "
            "trains on no batch of one"
        )
    folder = ImageFolder(str(files.folder), _usual(dataset, training))
    places = {Path(path): place for place, (path, _) in enumerate(folder.samples)}
    same = Subset(folder, [places[some.path(number)] for number in some.numbers.tolist()])
    seconds: dict[str, list[float]] = {"torchvision": [], "rbp": []}
    for number in range(rounds + 1):
        batches: dict[str, Iterable[Any]] = {"torchvision": DataLoader(same, _BATCH, shuffle=training)}
        if training:
            batches["rbp"] = train_batches(some, dataset, batch_size=_BATCH, seed=0, epoch=number)
        else:
            batches["rbp"] = eval_batches(some, dataset, batch_size=_BATCH)
        for name, of_it in batches.items():
            taken = seconds_per_image(of_it)
            if number:  # the first brings files and libraries into memory
                seconds[name].append(taken)
    theirs, ours = (1 / statistics.median(taken) for taken in seconds.values())
    return theirs, ours


def _usual(dataset: DictConfig, training: bool) -> transforms.Compose:
    """Return torchvision's usual transforms for ImageNet, with the numbers of the config."""
    size, end = dataset.size, [transforms.ToTensor(), transforms.Normalize(dataset.mean, dataset.std)]
    if training:
        scale = (dataset.augment.resized_crop, 1.0)
        flip = [transforms.RandomHorizontalFlip()] if dataset.augment.flip else []
        return transforms.Compose([transforms.RandomResizedCrop(size, scale), *flip, *end])
    return transforms.Compose([transforms.Resize(dataset.short_side), transforms.CenterCrop(size), *end])


def seconds_per_image(batches: Iterable[Any]) -> float:
    """Return the processor's time for each image of the batches; a last batch may have been left out."""
    start = time.process_time()
    images = sum(len(x) for x, _ in batches)
    return (time.process_time() - start) / images
