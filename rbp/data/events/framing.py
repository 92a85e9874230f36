"""How a recording of events becomes frames: the part of a `dataset` group that says so."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from rbp.errors import ConfigError


@dataclass(frozen=True)
class Framing:
    """What decides the frames of an event data set, and where they are kept once they are made."""

    T: int  # frames a recording
    size: int  # side of the square frames
    style: str  # counts: event counts | paper: the published code's 8-bit images
    by: str  # number: each frame has as many events | time: each frame lasts as long
    split_seed: int  # of the split into training and test recordings
    on_error: str  # raise | skip
    prepared: str | None  # folder of the prepared frames; None: `prepared` in the data set's root

    def folder(self, name: str, root: Path) -> Path:
        """Where the frames of data set `name` lie, apart from those of every other framing."""
        top = Path(self.prepared).expanduser() if self.prepared else root / "prepared"
        return top / f"{name}-T{self.T}-{self.by}-{self.size}-{self.style}-split{self.split_seed}"


def framing_of(dataset: DictConfig) -> Framing | None:
    """The framing that a `dataset` group describes; None for static images, which have none of its keys.

    Raises ConfigError if it is described in part.
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
