"""What an event data set is prepared from: its recordings, split, and whether they have changed since."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rbp.data.events.recordings import Recording
from rbp.errors import DataError


class NoRecordings(DataError):
    """Nothing of a data set is there: frames that were prepared before are all there is."""


@dataclass(frozen=True)
class FoundRecordings:
    """The recordings of a data set, split; `source` says what they were found as, for people."""

    train: list[Recording]
    test: list[Recording]
    source: str
    note: str = ""  # what people should know of them


def fingerprint(found: FoundRecordings, root: Path) -> str:
    """A hash of all that decides the frames: each recording, its split and place, its file's size and time.

    Paths count from root, so that a copy of the data set that keeps the times has the same.
    """

    @cache  # a zip holds a thousand recordings
    def state(file: Path) -> list[int] | None:
        try:
            stat = file.stat()
        except OSError:  # a link to nowhere: reading it will tell
            return None
        return [stat.st_size, stat.st_mtime_ns]

    digest = hashlib.sha256()
    for part, recordings in (("train", found.train), ("test", found.test)):
        for r in recordings:
            place = [os.path.relpath(r.file, root), r.member, r.span]
            line = [part, r.name, r.kind, r.label, *place, state(r.file)]
            digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()
