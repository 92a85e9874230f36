"""Load the images that a `dataset` config group describes.

A data set is read once per process and checked against the config, and its validation set is held out.
"""

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module

import torch
from omegaconf import DictConfig

from rbp.data.events.framing import Framing, framing_of
from rbp.data.holdout import hold_out
from rbp.data.image_files.files_and_labels import ImageFiles
from rbp.data.image_files.settings import FileSettings, file_settings_of
from rbp.data.images import Images, Splits
from rbp.errors import ConfigError
from rbp.seeds import stream

Parts = tuple[Images, Images] | tuple[ImageFiles, ImageFiles]  # train, test
Settings = Framing | FileSettings | None
# Called with (root, download), and with Framing for event data sets or FileSettings for image files.
Reader = Callable[..., Parts]


def load(dataset: DictConfig) -> Splits:
    """Return the images of a data set, on the CPU.

    The images of an event data set are frames, prepared once and memory-mapped
    (rbp.data.events.prepare.prepare); image files are decoded when batches are made of them. The validation
    set depends only on the data set and `val_split`: every seed of a grid holds out the same images.

    Raises:
        ConfigError: If keys of the config do not fit the files.
        DataError: If files are missing or cannot be read.
    """
    # An absolute path, so that the cache does not depend on the working directory.
    root = os.path.abspath(os.path.expanduser(dataset.root)) if dataset.root else ""
    train, test = _read(dataset._target_, root, dataset.download, settings_of(dataset))
    _check_fit(dataset, train, test)
    if dataset.val_split == 0:
        return Splits(train, None, test)
    n_val = round(dataset.val_split * len(train))
    if not 0 < n_val < len(train):
        raise ConfigError(
            f"dataset.val_split={dataset.val_split}: holds out {n_val} of the {len(train)} training "
            f"images of dataset={dataset.name}; must be 0 (no validation set) or leave images on both sides"
        )
    return Splits(*hold_out(train, n_val, stream(0, "validation")), test)


def settings_of(dataset: DictConfig) -> Settings:
    """Return the settings of an event data set or of image files; None for images that are in memory."""
    return file_settings_of(dataset) or framing_of(dataset)


@lru_cache(maxsize=4)  # enough for the data sets that one grid mixes; failures are not cached
def _read(target: str, root: str, download: bool, settings: Settings) -> Parts:
    try:
        found = find_reader(target)(*((root, download) if settings is None else (root, download, settings)))
    except TypeError as error:
        raise _no_reader(target, error) from error
    kind = ImageFiles if isinstance(settings, FileSettings) else Images
    if not (isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, kind) for part in found)):
        raise _no_reader(target, f"it returns {found!r:.60}")
    return found


def find_reader(target: str) -> Reader:
    """Import and return the function named by a data set's `_target_`; raise ConfigError if there is none."""
    module, _, name = target.rpartition(".")
    try:
        reader = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:  # ValueError: a name without a dot
        raise _no_reader(target, error) from error
    return reader


def _no_reader(target: str, reason: object) -> ConfigError:
    return ConfigError(
        f"dataset._target_={target}: must name a function (root, download) -> (train, test), such as "
        "rbp.data.static.digits.digits, for frames (root, download, framing), for image files "
        f"(root, download, settings): {reason}"
    )


def _check_fit(dataset: DictConfig, train: Images | ImageFiles, test: Images | ImageFiles) -> None:
    found = [*_misfits(dataset, "training", train)] or [*_misfits(dataset, "test", test)]
    # A small set may lack its last classes by chance, but not one with ten or more images per class.
    n_classes = int(train.labels.max()) + 1
    if n_classes < dataset.classes and len(train) >= 10 * dataset.classes:
        found.append(
            f"dataset.classes={dataset.classes}: the training images of dataset={dataset.name} have "
            f"{n_classes} classes"
        )
    if found:
        raise ConfigError("\n".join(found))


def _misfits(dataset: DictConfig, part: str, images: Images | ImageFiles) -> Iterator[str]:
    these = f"the {part} images of dataset={dataset.name}"
    if isinstance(images, Images):
        yield from _other_shape(dataset, these, images)
    if (label := int(images.labels.max())) >= dataset.classes:
        yield f"dataset.classes={dataset.classes}: {these} have labels up to {label}, so {label + 1} or more"


def _other_shape(dataset: DictConfig, these: str, images: Images) -> Iterator[str]:
    framed = dataset.get("frames") is not None
    wanted = f"numbers [N, {dataset.T}, C, H, W]" if framed else "torch.uint8 [N, C, H, W]"
    shape = images.pixels.shape
    fits = len(shape) == 5 and shape[1] == dataset.T if framed else len(shape) == 4
    if not fits or (images.pixels.dtype != torch.uint8 and not framed):
        found = f"{images.pixels.dtype} of shape {tuple(shape)}"
        yield f"dataset._target_={dataset._target_}: {these} must be {wanted}, not {found}"
        return
    channels, height, width = shape[-3:]
    if channels != dataset.channels:
        yield f"dataset.channels={dataset.channels}: {these} have {channels}"
    if (height, width) != (dataset.size, dataset.size):
        yield f"dataset.size={dataset.size}: {these} are {height} x {width}"
