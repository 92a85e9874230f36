"""The image files of a part of a data set: one folder per class, named by the class."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rbp.errors import DataError

# What torchvision's ImageFolder takes for images, so that both find the same files.
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Listing:
    """The files of a part.

    Attributes:
        classes: Names of the class folders, sorted: a class's label is its place among them.
        files: Names of the files of each class, in ImageFolder's order; SUBFOLDER/FILE in a subfolder.
        times: Name of each folder of a class (CLASS, CLASS/SUBFOLDER) and its modification time in
            nanoseconds, which changes with the names in it; of before it was listed, so that a file that
            comes later is noticed.
        left_out: Names of what is no image by its name, or hidden.
    """

    classes: list[str]
    files: list[list[str]]
    times: list[tuple[str, int]]
    left_out: list[str]

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
        return replace(self, files=kept)

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
    """Return the image files of all class folders and of the folders in them, as ImageFolder finds them.

    Other files and hidden ones (which begin with a dot) are left out.

    Raises:
        DataError: A folder cannot be read, or a class has no image.
    """
    listing = Listing(list_classes(folder), [], [], [])
    for name in listing.classes:
        inside = sorted(_walk(folder, name), key=lambda found: found.name)
        listing.files.append(_images(folder / name, inside))
        listing.times.extend((found.name, found.time) for found in inside)
        listing.left_out.extend(f"{found.name}/{file}" for found in inside for file in found.left_out)
    return listing


@dataclass(frozen=True)
class _Folder:
    """What lies in a folder of a class: its name (CLASS/SUBFOLDER), its time, and names of files, sorted."""

    name: str
    time: int
    images: list[str]
    left_out: list[str]


def _walk(part: Path, name: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[_Folder]:
    """Yield a folder and those in it; `above` are the device and inode of each folder that it lies in."""
    path = part / name
    try:
        state = path.stat()
        with os.scandir(path) as entries:
            inside = [(entry.name, entry.is_dir()) for entry in entries]
    except OSError as error:
        raise DataError(f"{path}: the folder cannot be read: {error.strerror}") from error
    here = (state.st_dev, state.st_ino)
    if here in above:
        raise DataError(f"{path}: is a link to a folder that it lies in; remove it")
    images, left_out = [], []
    for entry, is_folder in inside:
        if entry[0] == "." or not (is_folder or entry.lower().endswith(ENDINGS)):
            left_out.append(entry)
        elif not is_folder:
            images.append(entry)
    yield _Folder(name, state.st_mtime_ns, sorted(images), sorted(left_out))
    for entry, is_folder in inside:
        if is_folder and entry[0] != ".":
            yield from _walk(part, f"{name}/{entry}", (*above, here))


def _images(folder: Path, inside: list[_Folder]) -> list[str]:
    """Return the names of a class's images, below the class folder."""
    images = [
        f"{found.name}/{file}".removeprefix(f"{folder.name}/") for found in inside for file in found.images
    ]
    if not images:
        raise DataError(
            f"{folder}: the class has no image (a file that ends in {', '.join(ENDINGS)}); add some, or "
            "remove the folder"
        )
    if bad := next((name for name in (folder.name, *images) if "\n" in name), None):
        raise DataError(f"{folder}: {bad!r} has a line feed in its name; give it another")
    return images
