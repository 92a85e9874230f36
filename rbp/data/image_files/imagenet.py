"""ImageNet (ILSVRC 2012): 1,281,167 training and 50,000 validation images in 1,000 classes.

The validation images are what papers call the test set, and what is used as such here. Any data set of the
form train/CLASS/FILE and val/CLASS/FILE can be read so.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbp.data.image_files.broken_files import skipped
from rbp.data.image_files.files_and_labels import ImageFiles
from rbp.data.image_files.index import (
    PARTS,
    OtherFilesError,
    make_index,
    open_index,
    read_index,
    refuse_other_classes,
)
from rbp.data.image_files.listing import list_classes
from rbp.data.image_files.settings import FileSettings
from rbp.data.image_files.tars import DEVKIT, TRAIN_TAR, VAL_TAR, unpack
from rbp.errors import ConfigError, DataError
from rbp.locks import passing_lock
from rbp.terminal.output import say


@dataclass(frozen=True)
class ImageFolders:
    """A data set of image files, to be used as a `_target_` of a `dataset` config group.

    Attributes:
        title: Name for people.
        classes: Number of classes of the whole data set.
        sizes: Number of images of each part of it.
    """

    title: str
    classes: int
    sizes: dict[str, int]

    def __call__(self, root: str, download: bool, settings: FileSettings) -> tuple[ImageFiles, ImageFiles]:
        """Return (train, test), after making the index of the files if there is none.

        Raises:
            ConfigError: If `download` is set.
            DataError: If files are missing or broken, or have changed since the index was made.
        """
        if download:
            raise ConfigError(
                f"dataset.download=true: {self.title} is not fetched by this program; set it to false"
            )
        top = Path(root).expanduser()
        folder = settings.index_folder(top)
        self._refuse_missing(top, settings)
        manifest = read_index(top, folder, settings)
        if manifest is None:
            say(f"{self.title} has no index yet: its files are listed and checked now, once.")
            manifest = _made(top, folder, settings, settings.workers)
        if note := self._other_numbers(manifest):
            say(note)
        train, test = open_index(top, folder, manifest, settings)
        return train, test

    def prepare(self, root: Path, settings: FileSettings, workers: int | None = None) -> None:
        """Unpack the original tar files if there are no folders yet, check all images and make the index.

        An index that was made of another folder, with the same names, is taken as it is.

        Args:
            root: Folder of the data set.
            settings: Settings of the data set.
            workers: Number of processes; None for one per usable core.

        Raises:
            DataError: If files are missing or broken, or cannot be written.
        """
        unpack(root)
        self._refuse_missing(root, settings)
        folder = settings.index_folder(root)
        manifest = _made(root, folder, settings, workers, again=True)
        n = {part: sum(manifest["parts"][part]["sizes"]) for part in PARTS}
        say(
            f"{folder}: {n['train']:,} training and {n['val']:,} test images in "
            f"{len(manifest['classes']):,} classes"
        )
        if manifest["skipped"]:
            say(f"lacks {skipped(manifest)}")
        if note := self._other_numbers(manifest):
            say(note)

    def what_is_there(self, root: Path, settings: FileSettings) -> str:
        """Return what there is of the data set, for people; makes nothing.

        Raises:
            DataError: If the folders are missing, do not fit the settings, or no longer fit the index.
        """
        self._refuse_missing(root, settings)
        folder = settings.index_folder(root)
        if read_index(root, folder, settings) is not None:
            return f"image files in {root}, with an index in {folder}"
        refuse_other_classes(root, {part: list_classes(root / part) for part in PARTS}, settings)
        return f"image files in {root}; {settings.preparation(root)} checks them"

    def _other_numbers(self, manifest: dict[str, Any]) -> str:
        """Return a note if all classes of the data set are there and not all of its images, else ""."""
        there = {part: sum(manifest["parts"][part]["sizes"]) for part in PARTS}
        if there == self.sizes or len(manifest["classes"]) != self.classes:
            return ""
        whole, here = (
            " and ".join(f"{n:,} images in {part}" for part, n in numbers.items())
            for numbers in (self.sizes, there)
        )
        return f"{self.title} has {whole}; here are {here}."

    def _refuse_missing(self, root: Path, settings: FileSettings) -> None:
        missing = [part for part in PARTS if not (root / part).is_dir()]
        if not missing:
            return
        command = settings.preparation(root)
        if any((root / tar).exists() for tar in (TRAIN_TAR, VAL_TAR)):
            advice = f"or unpack the tar files there with {command}"
        else:
            advice = f"or put {TRAIN_TAR}, {VAL_TAR} and {DEVKIT} there and run {command}"
        raise DataError(
            f"dataset.root={root}: {self.title} is not there, as {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing. Point dataset.root at the folder that has "
            f"train/CLASS/FILE and val/CLASS/FILE, {advice}"
        )


def _made(
    root: Path, folder: Path, settings: FileSettings, workers: int | None, again: bool = False
) -> dict[str, Any]:
    """Make the index, unless one is there already that can be trusted, and return its manifest.

    Args:
        root: Folder of the data set.
        folder: Folder of the index.
        settings: Settings of the data set.
        workers: Number of processes; None for one per usable core.
        again: Whether to check all images anew, and replace an index that no longer fits the files. Only an
            index of another folder is trusted then: it may be shared, and still be needed there.
    """
    top = folder.parent
    new = not top.exists()
    try:
        top.mkdir(parents=True, exist_ok=True)
        with passing_lock(folder.with_name(f".{folder.name}.lock")):
            manifest = _trusted(root, folder, settings) if again else read_index(root, folder, settings)
            return manifest or make_index(root, folder, settings, workers)
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be written: {error.strerror or error}; choose another "
            "folder for the index with dataset.prepared=PATH"
        ) from error
    finally:
        if new:
            with suppress(OSError):  # not empty
                top.rmdir()


def _trusted(root: Path, folder: Path, settings: FileSettings) -> dict[str, Any] | None:
    """Return the manifest of an index that fits and was made of another folder than `root`, else None."""
    try:
        manifest = read_index(root, folder, settings)
    except OtherFilesError:  # that folder may still need its index
        raise
    except DataError:
        return None
    if manifest is None or manifest["root"] == str(root.resolve()):
        return None
    say(
        f"{folder}: was made of {manifest['root']}, with the same names; no image is checked again "
        "(delete the folder for that)."
    )
    return manifest


imagenet = ImageFolders("ImageNet", classes=1000, sizes={"train": 1_281_167, "val": 50_000})
