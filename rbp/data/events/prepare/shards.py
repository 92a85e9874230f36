"""Prepare frames in pieces: a shard is a group of recordings of one split, which one process prepares.

A shard is complete or absent.
"""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rbp.data.checksummed_json import read_sealed, sha256_of, write_sealed
from rbp.data.events.framing import Framing
from rbp.data.events.recordings import Frames, Recording, read_frames
from rbp.data.processes import end_with_parent
from rbp.errors import DataError
from rbp.files import write_bytes

RECORDINGS = 32  # recordings per shard
SHARDS_A_PROCESS = 8  # minimum number of shards per process, since a process takes seconds to start


@dataclass(frozen=True)
class Shard:
    """A group of recordings to be prepared by one process.

    Attributes:
        number: Number of the shard, which names its files.
        part: Split of the recordings: "train" or "test".
        recordings: The recordings, in order.
        framing: Settings of the frames.
        classes: Number of classes of the data set.
        folder: Folder of the shard's files.
    """

    number: int
    part: str
    recordings: list[Recording]
    framing: Framing
    classes: int
    folder: Path

    @property
    def frames(self) -> Path:
        """The .npy file of the frames."""
        return self.folder / f"{self.number:05}.npy"

    @property
    def summary(self) -> Path:
        """The sealed JSON file that describes the frames, written last."""
        return self.folder / f"{self.number:05}.json"


def plan(parts: dict[str, list[Recording]], framing: Framing, classes: int, folder: Path) -> list[Shard]:
    """Cut the recordings of every split into shards, in order."""
    cuts = [
        (part, recordings[first : first + RECORDINGS])
        for part, recordings in parts.items()
        for first in range(0, len(recordings), RECORDINGS)
    ]
    return [Shard(n, part, cut, framing, classes, folder) for n, (part, cut) in enumerate(cuts)]


def make_all(shards: list[Shard], workers: int) -> Iterator[int]:
    """Make the shards that are missing or damaged.

    Args:
        shards: All shards of a preparation.
        workers: Largest number of processes.

    Yields:
        The number of recordings of each shard that is done, including those done before.

    Raises:
        DataError: If a shard fails (the error of the first one) or a process is killed. Finished shards stay.
    """
    todo: list[Shard] = []
    for shard in shards:
        if read_done(shard) is None:
            todo.append(shard)
        else:
            yield len(shard.recordings)
    workers = min(workers, len(todo) // SHARDS_A_PROCESS)
    if workers <= 1:
        for shard in todo:
            make(shard)
            yield len(shard.recordings)
        return
    try:
        yield from _make_by(workers, todo)
    except BrokenProcessPool as error:
        raise DataError(
            f"{shards[0].folder}: a process that made frames was killed, perhaps by the system for want of "
            "memory. What is done is kept, the same command goes on; fewer processes need less memory: "
            "rbp data prepare NAME --workers 1"
        ) from error


def _make_by(workers: int, todo: list[Shard]) -> Iterator[int]:
    # Spawned, because a process with torch's threads cannot be forked safely.
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_prepare_worker) as pool:
        futures: dict[Future[None], Shard] = {pool.submit(make, shard): shard for shard in todo}
        try:
            while futures:
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    future.result()
                    yield len(futures.pop(future).recordings)
        finally:
            for future in futures:
                future.cancel()


def _prepare_worker() -> None:
    torch.set_num_threads(1)  # the processes share the cores
    end_with_parent()


def make(shard: Shard) -> None:
    """Write a shard's frames and then its summary.

    Raises:
        DataError: If a recording is broken and `framing.on_error` is "raise", or files cannot be written.
    """
    made: list[tuple[str, Frames]] = []
    skipped: list[dict[str, str]] = []
    for recording in shard.recordings:
        try:
            made.append((recording.name, read_frames(recording, shard.framing, shard.classes)))
        except DataError as error:
            if shard.framing.on_error == "raise":
                raise DataError(f"{error}, or leave it out with dataset.on_error=skip") from error
            skipped.append({"recording": recording.name, "why": str(error)})
    try:
        if made:
            write_bytes(shard.frames, _as_npy(stack([frames.values for _, frames in made])))
        write_sealed(shard.summary, _summary(shard, made, skipped))
    except OSError as error:
        raise unwritable(shard.folder, error) from error


def read_done(shard: Shard) -> dict[str, Any] | None:
    """Return the summary of a finished shard; None if it is missing, damaged, or has forbidden skips."""
    summary = read_sealed(shard.summary)
    if summary is None or (summary["skipped"] and shard.framing.on_error == "raise"):
        return None
    try:
        whole = not summary["recordings"] or sha256_of(shard.frames) == summary["frames"]
    except OSError:
        return None
    return summary if whole else None


def stack(values: list[np.ndarray]) -> np.ndarray:
    """Stack arrays of the same shape in the widest of their dtypes."""
    dtype = widest([array.dtype for array in values])
    return np.stack([array.astype(dtype, copy=False) for array in values])


def widest(dtypes: list[np.dtype]) -> np.dtype:
    """Return the widest of these dtypes, floats above ints: numpy promotes int32 and float32 to float64."""
    return max(dtypes, key=lambda dtype: (dtype.kind == "f", dtype.itemsize))


def unwritable(folder: Path, error: OSError) -> DataError:
    """Return the DataError for a file of the preparation that cannot be written."""
    return DataError(
        f"{error.filename or folder}: cannot be written: {error.strerror or error}. Make room there, or "
        f"choose another folder with dataset.prepared=PATH; what is done is kept, the same command goes on"
    )


def _summary(shard: Shard, made: list[tuple[str, Frames]], skipped: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "frames": sha256_of(shard.frames) if made else None,
        "recordings": [[name, frames.label] for name, frames in made],
        "levels": sorted({frames.levels for _, frames in made}),
        "events": sum(frames.events for _, frames in made),
        "skipped": skipped,
    }


def _as_npy(values: np.ndarray) -> bytes:
    stream = BytesIO()
    np.save(stream, values)
    return stream.getvalue()
