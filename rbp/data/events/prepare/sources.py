"""The recordings that an event data set is prepared from, and a fingerprint to detect changes to them."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rbp.data.events.recordings import Recording
from rbp.errors import DataError


class NoRecordings(DataError):
    """A data set has no recordings on disk; frames prepared earlier may still be used."""


@dataclass(frozen=True)
class FoundRecordings:
    """The recordings of a data set, split into training and test set.

    Attributes:
        train: Recordings of the training set.
        test: Recordings of the test set.
        source: Form and place in which they were found, for people.
        note: Message to print to the user; "" for none.
    """

    train: list[Recording]
    test: list[Recording]
    source: str
    note: str = ""


def fingerprint(found: FoundRecordings, root: Path) -> str:
    """Return a hash of each recording with its split, its place, and its file's size and modification time.

    Paths are relative to root, so that a copy of the data set that preserves modification times has the same
    fingerprint.
    """

    @cache  # a zip holds a thousand recordings, and needs only one stat
    def state(file: Path) -> list[int] | None:
        try:
            stat = file.stat()
        except OSError:  # a dangling link; reading it raises a proper error
            return None
        return [stat.st_size, stat.st_mtime_ns]

    digest = hashlib.sha256()
    for part, recordings in (("train", found.train), ("test", found.test)):
        for r in recordings:
            place = [os.path.relpath(r.file, root), r.member, r.span]
            line = [part, r.name, r.kind, r.label, *place, state(r.file)]
            digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()
