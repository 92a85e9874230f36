"""Events of a square sensor, and their counts in T frames."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rbp.data.files import broken


@dataclass(frozen=True)
class Events:
    """n events in the order of their time.

    t: integers [n], microseconds. cell: int64 [n], (p * side + y) * side + x, where polarity p is 1 for
    brighter and 0 for darker, x counts from the left and y from the top.
    """

    t: np.ndarray
    cell: np.ndarray
    side: int

    def __len__(self) -> int:
        return len(self.t)

    def xyp(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y, p of every event, int64 [n] each."""
        return (
            self.cell % self.side,
            self.cell // self.side % self.side,
            self.cell // self.side**2,
        )

    def between(self, start: int, end: int) -> Events:
        """The events with start <= t < end."""
        first, last = np.searchsorted(self.t, [start, end])
        return Events(self.t[first:last], self.cell[first:last], self.side)


def from_xyp(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, side: int, where: str) -> Events:
    """Events from integers [n] each. Raises DataError, which names `where`, for those that cannot be."""
    for name, values, limit in (("x", x, side), ("y", y, side), ("p", p, 2)):
        wrong = (values < 0) | (values >= limit)
        if wrong.any():
            at = int(wrong.argmax())
            raise broken(where, f"event {at} has {name}={values[at]}; must be from 0 to {limit - 1}")
    cell = (p.astype(np.int64) * side + y.astype(np.int64)) * side + x.astype(np.int64)
    return check_times(Events(t, cell, side), where)


def check_times(events: Events, where: str) -> Events:
    """The same events. Raises DataError if there are none or time goes back."""
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
    """How often each pixel fired in each of T frames, float32 [T, 2, side, side], whole numbers.

    by="number": frames of len(events) // T events; by="time": of a T-th of the whole time, in whole
    microseconds. What is left over goes to the last frame, as in SpikingJelly, so that the counts are equal.
    """
    cells = 2 * events.side**2
    counts = np.empty((T, cells), np.float32)
    for frame, (first, last) in enumerate(pairwise(_edges(events, T, by))):
        counts[frame] = np.bincount(events.cell[first:last], minlength=cells)
    return counts.reshape(T, 2, events.side, events.side)


def _edges(events: Events, T: int, by: str) -> list[int]:
    """The first event of each frame, and the number of all."""
    if by == "number":
        return [len(events) // T * frame for frame in range(T)] + [len(events)]
    first, last = int(events.t[0]), int(events.t[-1])
    starts = [first + (last - first) // T * frame for frame in range(T)]
    return [int(edge) for edge in np.searchsorted(events.t, starts)] + [len(events)]
