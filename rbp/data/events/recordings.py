"""One recording of an event data set: where it is stored, and how to turn it into T frames."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG

import numpy as np

from rbp.data.archives import LARGEST, read_member
from rbp.data.events.events import Events, count
from rbp.data.events.framing import Framing
from rbp.data.events.readers.aedat2 import read_aedat2
from rbp.data.events.readers.aedat3 import read_aedat3
from rbp.data.events.readers.aedat4 import read_aedat4, require_aedat
from rbp.data.events.readers.events_np import read_events_np
from rbp.data.events.readers.nmnist import read_nmnist
from rbp.data.events.readers.pairs import read_pair
from rbp.data.events.resize import PAPER_LEVELS, levels, resize_as_published, shrink
from rbp.data.files import broken

SIDE = 128  # pixels; the sensors of all data sets in events_np have this side


@dataclass(frozen=True)
class Recording:
    """One labelled recording and the place where it is stored.

    Attributes:
        name: Name within the data set, the same whatever form the files have.
        kind: How to read the recording: "aedat2", "aedat3", "aedat4", "events_np", "nmnist" or
            "pair".
        file: File or archive that holds the recording.
        label: Class of the recording; None if the file itself gives it.
        member: Name within the archive; None if `file` is no archive.
        span: Part of the file that is the recording, [start, end) in microseconds; None for the whole file.
        side: Side in pixels that the frames of a pair must have; None for any.
    """

    name: str
    kind: str
    file: Path
    label: int | None = None
    member: str | None = None
    span: tuple[int, int] | None = None
    side: int | None = None

    @property
    def where(self) -> str:
        """The file, and the member if there is one, for error messages."""
        return f"{self.file}: {self.member}" if self.member else str(self.file)


@dataclass(frozen=True)
class Frames:
    """The frames of one recording, as they are stored.

    Attributes:
        values: uint8, int16, int32 or float32 [T, 2, size, size].
        levels: Divisor that turns `values` into event counts per pixel, or into intensities in [0, 1].
        label: Class of the recording.
        events: Number of events of the recording.
    """

    values: np.ndarray
    levels: int
    label: int
    events: int


def read_frames(recording: Recording, framing: Framing, classes: int) -> Frames:
    """Read a recording and turn it into frames.

    Args:
        recording: The recording to read.
        framing: Settings of the frames.
        classes: Number of classes of the data set, to check the label of a pair.

    Raises:
        DataError: If the recording is broken in any way; the message names the file.
    """
    try:
        if recording.kind == "pair":
            counts, label = read_pair(content_of(recording), classes, recording.where)
            n_events = int(counts.sum(dtype=np.float64))
            _check_pair(counts, recording, framing)
        else:
            events = read_events(recording)
            counts, n_events = count(events, framing.T, framing.by), len(events)
            assert recording.label is not None
            label = recording.label
    except MemoryError as error:
        raise broken(recording.where, "does not fit into memory") from error
    values, scale = as_stored(counts, framing)
    return Frames(values, scale, label, n_events)


def _check_pair(counts: np.ndarray, recording: Recording, framing: Framing) -> None:
    T, _, side, _ = counts.shape
    if framing.T != T:
        raise broken(recording.where, f"has {T} frames, not T={framing.T}")
    if recording.side not in (None, side):
        raise broken(
            recording.where,
            f"has frames of {side} x {side}, the first that was read {recording.side} x {recording.side}",
        )
    if framing.style == "paper" and (counts != np.floor(counts)).any():
        raise broken(
            recording.where, "has counts that are not whole, which dataset.frames=paper cannot make images of"
        )


def as_stored(counts: np.ndarray, framing: Framing) -> tuple[np.ndarray, int]:
    """Convert counts [T, 2, side, side] to the size and style of a framing.

    Returns:
        Values [T, 2, size, size] and their `levels` (see `Frames`).
    """
    if framing.style == "paper":
        return resize_as_published(counts, framing.size), PAPER_LEVELS
    return narrow(shrink(counts, framing.size)), levels(counts.shape[-1], framing.size)


# Readers of files that hold one recording each.
_WHOLE_FILES = {"aedat2": read_aedat2, "aedat4": read_aedat4, "nmnist": read_nmnist}


def read_events(recording: Recording) -> Events:
    """Read the events of a recording of any kind but "pair"."""
    if recording.kind in _WHOLE_FILES:
        return _WHOLE_FILES[recording.kind](content_of(recording), recording.where)
    if recording.kind == "events_np":
        return read_events_np(content_of(recording), SIDE, recording.where)
    assert recording.kind == "aedat3" and recording.span is not None
    part = _session(recording.file, _changed(recording.file)).between(*recording.span)
    if len(part) == 0:
        raise broken(recording.where, f"has no events from {recording.span[0]} to {recording.span[1]} us")
    return part


def require_packages(recordings: Iterable[Recording]) -> None:
    """Raise ConfigError if reading one of these recordings needs a package that is not installed."""
    first = next((recording for recording in recordings if recording.kind == "aedat4"), None)
    if first is not None:
        require_aedat(first.where)


@lru_cache(maxsize=1)  # a file holds about a dozen recordings, which are read one after the other
def _session(file: Path, changed: int) -> Events:
    """Read an AEDAT 3.1 file; `changed` (its modification time) only serves as part of the cache key."""
    return read_aedat3(_read(file), str(file))


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError as error:
        raise broken(file, f"cannot be read: {error.strerror}") from error


def content_of(recording: Recording) -> bytes:
    """Return the bytes of a recording's file or archive member; raise DataError if it cannot be read."""
    if recording.member is not None:
        return read_member(recording.file, recording.member)
    return _read(recording.file)


def _read(file: Path) -> bytes:
    try:
        state = file.stat()
        if not (S_ISREG(state.st_mode) and state.st_size <= LARGEST):  # reading a pipe would block
            raise broken(file, f"has {state.st_size} bytes; must be a plain file of at most {LARGEST}")
        return file.read_bytes()
    except OSError as error:
        raise broken(file, f"cannot be read: {error.strerror}") from error


def narrow(values: np.ndarray) -> np.ndarray:
    """Convert float32 or float64 values of at least 0 to the smallest type that holds them exactly.

    Returns:
        int16 or int32 for whole numbers that fit (float64 values are taken to be whole), else float32.
    """
    largest = float(values.max(initial=0))
    whole = values.dtype == np.float64 or bool((values == np.floor(values)).all())
    if not whole or largest >= 2**31:
        return values.astype(np.float32)
    return values.astype(np.int16 if largest < 2**15 else np.int32)


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a sort key for natural order: airplane_2 before airplane_10.

    Numbers compare by length without leading zeros, then as text, so that they may be arbitrarily long.
    """
    parts = re.split(r"([0-9]+)", name)  # every second part is a number
    numbers = [number.lstrip("0") for number in parts[1::2]]
    parts[1::2] = numbers
    return [(len(part) if at % 2 else -1, part) for at, part in enumerate(parts)], name
