"""The settings of a `dataset` config group that decide how an image file becomes an image of fixed size."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig


@dataclass(frozen=True)
class FileSettings:
    """How image files are read.

    Attributes:
        name: Name of the data set, as in `dataset.name`.
        size: Side of the square images in pixels.
        short_side: What the shorter side is resized to before the centre crop of evaluation.
        smallest_crop: Smallest share of an image's area that a random crop of training shows; None trains
            on centre crops.
        flip: Whether training images are flipped left to right, every other one.
        classes: Number of classes.
        on_error: What to do with a file that is no whole image: "raise" or "skip".
        prepared: Folder for the index of the files; None for the folder `prepared` in the data set's root.
        workers: Number of processes that decode; None for one per usable core, 0 for the training process.
    """

    name: str
    size: int
    short_side: int
    smallest_crop: float | None
    flip: bool
    classes: int
    on_error: str
    prepared: str | None = None
    workers: int | None = None

    def index_folder(self, root: Path) -> Path:
        """Return the folder of the index of the data set in `root`."""
        top = Path(self.prepared).expanduser() if self.prepared else root / "prepared"
        return top / f"{self.name}-index"

    def preparation(self, root: Path) -> str:
        """Return the command that makes that index, for people."""
        keys = [f"dataset.root={root}", f"dataset.classes={self.classes}"]
        if self.on_error != "raise":
            keys.append(f"dataset.on_error={self.on_error}")
        if self.prepared:
            keys.append(f"dataset.prepared={self.prepared}")
        return f"rbp data prepare {self.name} {' '.join(keys)}"


def file_settings_of(dataset: DictConfig) -> FileSettings | None:
    """Return the settings that a `dataset` group describes; None unless it is one of image files."""
    if dataset.get("short_side") is None:
        return None
    return FileSettings(
        name=dataset.name,
        size=dataset.size,
        short_side=dataset.short_side,
        smallest_crop=dataset.augment.get("resized_crop"),
        flip=dataset.augment.flip,
        classes=dataset.classes,
        on_error=dataset.get("on_error") or "raise",
        prepared=dataset.get("prepared"),
        workers=dataset.get("workers"),
    )
