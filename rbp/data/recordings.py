"""One recording of an event data set: where it lies, and how it becomes the counts of T frames."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from rbp.data.aedat2 import read_aedat2
from rbp.data.aedat3 import read_aedat3
from rbp.data.archives import LARGEST, read_member
from rbp.data.events import Events, count
from rbp.data.events_np import read_events_np
from rbp.data.files import broken
from rbp.data.framing import Framing
from rbp.data.pairs import read_pair
from rbp.data.resize import PAPER_LEVELS, levels, shrink, through_images

SIDE = 128  # pixels of the sensors of all sets that are read here


@dataclass(frozen=True)
class Recording:
    """A labelled recording. `kind` says how to read it: aedat2, aedat3, events_np or pair."""

    name: str  # of the data set's own, whatever form its files have
    kind: str
    file: Path
    label: int | None = None  # None: the file says it
    member: str | None = None  # of the file, where it is an archive
    span: tuple[int, int] | None = None  # of the file's microseconds, [start, end); None: all

    @property
    def where(self) -> str:
        return f"{self.file}: {self.member}" if self.member else str(self.file)


@dataclass(frozen=True)
class Frames:
    """One recording as it is stored."""

    values: np.ndarray  # uint8, int16, int32 or float32 [T, 2, size, size]
    levels: int  # values / levels are event counts per pixel, or shades from 0 to 1
    label: int
    events: int


def read_frames(recording: Recording, framing: Framing, classes: int) -> Frames:
    """Raises DataError, which names the file, for a recording that is broken in any way."""
    try:
        if recording.kind == "pair":
            counts, label = read_pair(_content(recording), classes, recording.where)
            n_events = int(counts.sum(dtype=np.float64))
            if len(counts) != framing.T:
                raise broken(recording.where, f"has {len(counts)} frames, not T={framing.T}")
        else:
            events = read_events(recording)
            counts, n_events = count(events, framing.T, framing.by), len(events)
            assert recording.label is not None
            label = recording.label
    except MemoryError as error:
        raise broken(recording.where, "does not fit into memory") from error
    values, scale = as_stored(counts, framing)
    return Frames(values, scale, label, n_events)


def as_stored(counts: np.ndarray, framing: Framing) -> tuple[np.ndarray, int]:
    """Counts [T, 2, side, side] at the size and in the style of a framing, and their levels."""
    if framing.style == "paper":
        return through_images(counts, framing.size), PAPER_LEVELS
    return narrow(shrink(counts, framing.size)), levels(counts.shape[-1], framing.size)


def read_events(recording: Recording) -> Events:
    """The events of a recording that is no pair of frames."""
    if recording.kind == "aedat2":
        return read_aedat2(_content(recording), recording.where)
    if recording.kind == "events_np":
        return read_events_np(_content(recording), SIDE, recording.where)
    assert recording.kind == "aedat3" and recording.span is not None
    part = _session(recording.file, recording.file.stat().st_mtime_ns).between(*recording.span)
    if len(part) == 0:
        raise broken(recording.where, f"has no events from {recording.span[0]} to {recording.span[1]} us")
    return part


@lru_cache(maxsize=1)  # one file holds a dozen recordings in a row
def _session(file: Path, changed: int) -> Events:
    return read_aedat3(_read(file), str(file))


def _content(recording: Recording) -> bytes:
    if recording.member is not None:
        return read_member(recording.file, recording.member)
    return _read(recording.file)


def _read(file: Path) -> bytes:
    try:
        if (size := file.stat().st_size) > LARGEST:
            raise broken(file, f"has {size} bytes; must be at most {LARGEST}")
        return file.read_bytes()
    except OSError as error:
        raise broken(file, f"cannot be read: {error.strerror}") from error


def narrow(values: np.ndarray) -> np.ndarray:
    """float32 or float64 as the smallest type that holds it exactly: int16, int32, or else float32."""
    largest = float(values.max(initial=0))
    whole = values.dtype == np.float64 or bool((values == np.floor(values)).all())
    if not whole or largest >= 2**31:
        return values.astype(np.float32)
    return values.astype(np.int16 if largest < 2**15 else np.int32)


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which airplane_2 comes before airplane_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]
