"""The image files of a part of a data set: one folder per class, named by the class."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from rbp.errors import DataError

# What torchvision's ImageFolder takes for images, so that both find the same files.
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Listing:
    """The files of a part.

    Attributes:
        classes: Names of the class folders, sorted: a class's label is its place among them.
        files: Names of the files of each class, sorted.
    """

    classes: list[str]
    files: list[list[str]]

    def __len__(self) -> int:
        return sum(len(files) for files in self.files)

    def names(self) -> list[str]:
        """Return all files as CLASS/FILE, in order."""
        return [f"{name}/{file}" for name, files in self._by_class() for file in files]

    def without(self, left_out: Collection[str]) -> Listing:
        """Return the listing without the files that are left out, named as CLASS/FILE; no class is."""
        kept = [
            [file for file in files if f"{name}/{file}" not in left_out] for name, files in self._by_class()
        ]
        return Listing(self.classes, kept)

    def _by_class(self) -> Iterator[tuple[str, list[str]]]:
        return zip(self.classes, self.files, strict=True)


def list_classes(folder: Path) -> list[str]:
    """Return the names of the class folders in a folder, sorted; raise DataError if there are none."""
    try:
        with os.scandir(folder) as entries:
            inside = [(entry.name, entry.is_dir()) for entry in entries if entry.name[0] != "."]
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read: {error.strerror}") from error
    classes = sorted(name for name, is_folder in inside if is_folder)
    if not classes:
        loose = sum(name.lower().endswith(ENDINGS) for name, _ in inside)
        what = f"has {loose} images and no class folders" if loose else "has no class folders"
        raise DataError(
            f"{folder}: {what}; the images of a class must lie in a folder of its own, {folder}/CLASS"
        )
    return classes


def list_files(folder: Path) -> Listing:
    """Return the image files of all class folders; other files and hidden ones are left out.

    Raises:
        DataError: A folder cannot be read, or a class has no image.
    """
    classes = list_classes(folder)
    return Listing(classes, [_images(folder / name) for name in classes])


def _images(folder: Path) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read: {error.strerror}") from error
    images = sorted(name for name in names if name.lower().endswith(ENDINGS) and name[0] != ".")
    if not images:
        raise DataError(
            f"{folder}: the class has no image (a file that ends in {', '.join(ENDINGS)}); add some, or "
            "remove the folder"
        )
    if bad := next((name for name in images if "\n" in name), None):
        raise DataError(f"{folder / bad!r}: has a line feed in its name; give it another")
    return images
