"""ImageNet (ILSVRC 2012): 1,281,167 training and 50,000 validation images in 1,000 classes.

The validation images are what papers call the test set, and what is used as such here. Any data set of the
form train/CLASS/FILE and val/CLASS/FILE can be read so.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbp.data.image_files.image_files import ImageFiles
from rbp.data.image_files.index import PARTS, make_index, open_index, read_index, skipped
from rbp.data.image_files.settings import FileSettings
from rbp.data.image_files.tars import TRAIN_TAR, VAL_TAR, unpack
from rbp.errors import ConfigError, DataError
from rbp.locks import locked
from rbp.output import say


@dataclass(frozen=True)
class ImageFolders:
    """A data set of image files, to be used as a `_target_` of a `dataset` config group.

    Attributes:
        name: Name of the data set, as in `dataset.name`.
        title: Name for people.
    """

    name: str
    title: str

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
        folder = settings.index_folder(self.name, top)
        self._refuse_missing(top)
        manifest = read_index(top, folder, settings)
        if manifest is None:
            say(f"{self.title} has no index yet: its files are listed and checked now, once.")
            manifest = _made(top, folder, settings, settings.workers)
        train, test = open_index(top, folder, manifest, settings)
        return train, test

    def prepare(self, root: Path, settings: FileSettings, workers: int | None = None) -> None:
        """Unpack the original tar files if there are no folders yet, and make the index.

        Args:
            root: Folder of the data set.
            settings: Settings of the data set.
            workers: Number of processes; None for one per usable core.

        Raises:
            DataError: If files are missing or broken, or cannot be written.
        """
        unpack(root)
        self._refuse_missing(root)
        folder = settings.index_folder(self.name, root)
        manifest = _made(root, folder, settings, workers, again=True)
        n = {part: sum(manifest["parts"][part]["sizes"]) for part in PARTS}
        say(
            f"{folder}: {n['train']:,} training and {n['val']:,} test images in "
            f"{len(manifest['classes']):,} classes"
        )
        if manifest["skipped"]:
            say(f"lacks {skipped(manifest)}")

    def what_is_there(self, root: Path, settings: FileSettings) -> str:
        """Return what there is of the data set, for people; makes nothing.

        Raises:
            DataError: If the folders are missing, or no longer fit the index.
        """
        self._refuse_missing(root)
        folder = settings.index_folder(self.name, root)
        if read_index(root, folder, settings) is not None:
            return f"image files in {root}, with an index in {folder}"
        return f"image files in {root}; rbp data prepare {self.name} checks them"

    def _refuse_missing(self, root: Path) -> None:
        missing = [part for part in PARTS if not (root / part).is_dir()]
        if not missing:
            return
        if any((root / tar).exists() for tar in (TRAIN_TAR, VAL_TAR)):
            advice = f"unpack the tar files there with rbp data prepare {self.name} dataset.root={root}"
        else:
            advice = f"or put {TRAIN_TAR} and {VAL_TAR} there and run rbp data prepare {self.name}"
        raise DataError(
            f"dataset.root={root}: {self.title} is not there, as {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing. Point dataset.root at the folder that has "
            f"train/CLASS/FILE and val/CLASS/FILE, {advice}"
        )


def _made(
    root: Path, folder: Path, settings: FileSettings, workers: int | None, again: bool = False
) -> dict[str, Any]:
    """Make the index, unless another process has done so meanwhile, and return its manifest.

    Args:
        root: Folder of the data set.
        folder: Folder of the index.
        settings: Settings of the data set.
        workers: Number of processes; None for one per usable core.
        again: Whether an index that no longer fits the files is replaced, instead of being an error.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock"), wait=None):
            manifest = None
            try:
                manifest = read_index(root, folder, settings)
            except DataError:
                if not again:
                    raise
            if manifest is None:
                return make_index(root, folder, settings, workers)
            return manifest
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be written: {error.strerror or error}; choose another "
            "folder for the index with dataset.prepared=PATH"
        ) from error


imagenet = ImageFolders("imagenet", "ImageNet")
