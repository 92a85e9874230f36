"""The settings of a `dataset` config group that decide how a recording of events becomes frames."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from rbp.errors import ConfigError


@dataclass(frozen=True)
class Framing:
    """The settings that decide the frames of an event data set, and where the frames are stored.

    Attributes:
        T: Number of frames per recording.
        size: Side of the square frames in pixels.
        style: "counts" for event counts, "paper" for the published code's 8-bit images.
        by: "number" for equally many events per frame, "time" for frames of equal duration.
        split_seed: Seed of the split into training and test recordings.
        on_error: What to do with a broken recording: "raise" or "skip".
        prepared: Folder for the prepared frames; None for the folder `prepared` in the data set's root.
    """

    T: int
    size: int
    style: str
    by: str
    split_seed: int
    on_error: str
    prepared: str | None

    def folder(self, name: str, root: Path) -> Path:
        """Return the folder for the frames of data set `name`; every framing has a folder of its own."""
        top = Path(self.prepared).expanduser() if self.prepared else root / "prepared"
        return top / f"{name}-T{self.T}-{self.by}-{self.size}-{self.style}-split{self.split_seed}"


def framing_of(dataset: DictConfig) -> Framing | None:
    """Return the framing that a `dataset` group describes.

    Returns:
        None for static images, for which none of the keys in _KEYS is set.

    Raises:
        ConfigError: If only some of these keys are set.
    """
    if all(dataset.get(key) is None for key in _KEYS):
        return None
    if missing := [f"dataset.{key}=null" for key in _KEYS if dataset.get(key) is None]:
        raise ConfigError(
            f"{', '.join(missing)}: dataset={dataset.name} has events, which must be made frames of; "
            f"leave {'these keys' if len(missing) > 1 else 'this key'} as in conf/dataset/{dataset.name}.yaml"
        )
    return Framing(
        T=dataset.T,
        size=dataset.size,
        style=dataset.frames,
        by=dataset.frames_by,
        split_seed=dataset.split_seed,
        on_error=dataset.on_error,
        prepared=dataset.prepared,
    )


_KEYS = ("frames", "frames_by", "split_seed", "on_error")
