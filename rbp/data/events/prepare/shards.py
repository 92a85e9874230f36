"""Preparation in pieces: a shard is some recordings of one split, made by one process, whole or not there."""

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import get_context, parent_process
from os import _exit
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rbp.data.events.framing import Framing
from rbp.data.events.prepare.sealed import read_sealed, sha256_of, write_sealed
from rbp.data.events.recordings import Frames, Recording, read_frames
from rbp.errors import DataError
from rbp.files import write_bytes

RECORDINGS = 32  # of a shard
SHARDS_A_PROCESS = 8  # at least: a process takes seconds to start


@dataclass(frozen=True)
class Shard:
    """Work for one process."""

    number: int
    part: str  # train | test
    recordings: list[Recording]
    framing: Framing
    classes: int
    folder: Path

    @property
    def frames(self) -> Path:
        return self.folder / f"{self.number:05}.npy"

    @property
    def summary(self) -> Path:
        return self.folder / f"{self.number:05}.json"


def plan(parts: dict[str, list[Recording]], framing: Framing, classes: int, folder: Path) -> list[Shard]:
    """All recordings of every split, in order, cut into shards."""
    cuts = [
        (part, recordings[first : first + RECORDINGS])
        for part, recordings in parts.items()
        for first in range(0, len(recordings), RECORDINGS)
    ]
    return [Shard(n, part, cut, framing, classes, folder) for n, (part, cut) in enumerate(cuts)]


def make_all(shards: list[Shard], workers: int) -> Iterator[int]:
    """Make the shards that are not there and whole; gives how many recordings each that is done has.

    Raises the DataError of the first that fails, or one if a process was killed; what is done stays.
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
    # Not forked: a process with torch's threads in it cannot be copied safely.
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
    # A process whose parent was killed would wait for work for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    _exit(1)


def make(shard: Shard) -> None:
    """Write a shard's frames and then its summary. Raises DataError for what it may not skip."""
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
    """What was noted of a shard that is done; None if it is not whole, or lacks what may not be skipped."""
    summary = read_sealed(shard.summary)
    if summary is None or (summary["skipped"] and shard.framing.on_error == "raise"):
        return None
    try:
        whole = not summary["recordings"] or sha256_of(shard.frames) == summary["frames"]
    except OSError:
        return None
    return summary if whole else None


def stack(values: list[np.ndarray]) -> np.ndarray:
    """Arrays of one shape, in the type that holds them all."""
    dtype = widest([array.dtype for array in values])
    return np.stack([array.astype(dtype, copy=False) for array in values])


def widest(dtypes: list[np.dtype]) -> np.dtype:
    """The one of these types that holds the values of all: numpy would make int32 and float32 float64."""
    return max(dtypes, key=lambda dtype: (dtype.kind == "f", dtype.itemsize))


def unwritable(folder: Path, error: OSError) -> DataError:
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
