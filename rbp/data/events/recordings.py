"""One recording of an event data set: where it lies, and how it becomes the counts of T frames."""

import re
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
from rbp.data.events.readers.events_np import read_events_np
from rbp.data.events.readers.pairs import read_pair
from rbp.data.events.resize import PAPER_LEVELS, levels, shrink, through_images
from rbp.data.files import broken

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
    side: int | None = None  # of the frames of a pair, which its set has in common; None: any

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
    """Counts [T, 2, side, side] at the size and in the style of a framing, and their levels."""
    if framing.style == "paper":
        return through_images(counts, framing.size), PAPER_LEVELS
    return narrow(shrink(counts, framing.size)), levels(counts.shape[-1], framing.size)


def read_events(recording: Recording) -> Events:
    """The events of a recording that is no pair of frames."""
    if recording.kind == "aedat2":
        return read_aedat2(content_of(recording), recording.where)
    if recording.kind == "events_np":
        return read_events_np(content_of(recording), SIDE, recording.where)
    assert recording.kind == "aedat3" and recording.span is not None
    part = _session(recording.file, _changed(recording.file)).between(*recording.span)
    if len(part) == 0:
        raise broken(recording.where, f"has no events from {recording.span[0]} to {recording.span[1]} us")
    return part


@lru_cache(maxsize=1)  # one file holds a dozen recordings in a row
def _session(file: Path, changed: int) -> Events:
    return read_aedat3(_read(file), str(file))


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError as error:
        raise broken(file, f"cannot be read: {error.strerror}") from error


def content_of(recording: Recording) -> bytes:
    """The bytes of a recording's file or member. Raises DataError."""
    if recording.member is not None:
        return read_member(recording.file, recording.member)
    return _read(recording.file)


def _read(file: Path) -> bytes:
    try:
        state = file.stat()
        if not (S_ISREG(state.st_mode) and state.st_size <= LARGEST):  # a pipe would wait for ever
            raise broken(file, f"has {state.st_size} bytes; must be a plain file of at most {LARGEST}")
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


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key by which airplane_2 comes before airplane_10: numbers by length, then as text."""
    parts = re.split(r"([0-9]+)", name)  # every second is a number
    numbers = [number.lstrip("0") for number in parts[1::2]]
    parts[1::2] = numbers
    return [(len(part) if at % 2 else -1, part) for at, part in enumerate(parts)], name
