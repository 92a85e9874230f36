"""Events of a square sensor, and how to count them in T frames."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rbp.data.files import broken


@dataclass(frozen=True)
class Events:
    """The n events of one recording, ordered by time.

    Attributes:
        t: Integers [n], time in microseconds.
        cell: int64 [n], position and polarity as (p * side + y) * side + x. Polarity p is 1 for brighter and
            0 for darker; x counts from the left, y from the top.
        side: Side of the sensor in pixels.
    """

    t: np.ndarray
    cell: np.ndarray
    side: int

    def __len__(self) -> int:
        return len(self.t)

    def xyp(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, y and p of every event, int64 [n] each."""
        return (
            self.cell % self.side,
            self.cell // self.side % self.side,
            self.cell // self.side**2,
        )

    def between(self, start: int, end: int) -> Events:
        """Return the events with start <= t < end, in microseconds."""
        first, last = np.searchsorted(self.t, [start, end])
        return Events(self.t[first:last], self.cell[first:last], self.side)


def from_xyp(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, side: int, where: str) -> Events:
    """Build events from their times and coordinates, and check them.

    Args:
        t: Integers [n], time in microseconds.
        x: Integers [n], from the left.
        y: Integers [n], from the top.
        p: Integers [n], polarity: 1 for brighter, 0 for darker.
        side: Side of the sensor in pixels.
        where: Name of the recording, for error messages.

    Raises:
        DataError: If there are no events, a value is out of range, or time goes back.
    """
    for name, values, limit in (("x", x, side), ("y", y, side), ("p", p, 2)):
        wrong = (values < 0) | (values >= limit)
        if wrong.any():
            at = int(wrong.argmax())
            raise broken(where, f"event {at} has {name}={values[at]}; must be from 0 to {limit - 1}")
    cell = (p.astype(np.int64) * side + y.astype(np.int64)) * side + x.astype(np.int64)
    return check_times(Events(t, cell, side), where)


def check_times(events: Events, where: str) -> Events:
    """Return the same events; raise DataError if there are none or time goes back."""
    if len(events) == 0:
        raise broken(where, "has no events")
    back = events.t[1:] < events.t[:-1]
    if back.any():
        at = int(back.argmax())
        raise broken(
            where, f"time goes back after event {at}: from {events.t[at]} to {events.t[at + 1]} microseconds"
        )
    return events


def count(events: Events, T: int, by: str) -> np.ndarray:
    """Count how often each pixel fired in each of T frames.

    Args:
        events: Events of one recording.
        T: Number of frames.
        by: "number" gives each frame len(events) // T events; "time" gives each frame 1/T of the duration,
            rounded down to whole microseconds. The remainder goes to the last frame, as in SpikingJelly, so
            that the counts equal SpikingJelly's.

    Returns:
        Whole numbers, float32 [T, 2, side, side].
    """
    cells = 2 * events.side**2
    counts = np.empty((T, cells), np.float32)
    for frame, (first, last) in enumerate(pairwise(_edges(events, T, by))):
        counts[frame] = np.bincount(events.cell[first:last], minlength=cells)
    return counts.reshape(T, 2, events.side, events.side)


def _edges(events: Events, T: int, by: str) -> list[int]:
    """Return the index of the first event of each frame, followed by the number of events."""
    if by == "number":
        return [len(events) // T * frame for frame in range(T)] + [len(events)]
    first, last = int(events.t[0]), int(events.t[-1])
    starts = [first + (last - first) // T * frame for frame in range(T)]
    return [int(edge) for edge in np.searchsorted(events.t, starts)] + [len(events)]
