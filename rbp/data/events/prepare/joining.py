"""Join the shards of a preparation to the prepared set and move it to its final folder."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import write_array_header_1_0

from rbp.data.checksummed_json import write_sealed
from rbp.data.events.prepare.manifest import MANIFEST, PARTS
from rbp.data.events.prepare.shards import Shard, read_done, widest
from rbp.errors import DataError


def join(title: str, shards: list[Shard], about: dict[str, Any], building: Path) -> dict[str, Any]:
    """Write each split's file from its shards, then the manifest, and return the manifest.

    Args:
        title: Name of the data set, for error messages.
        shards: All shards, finished.
        about: Entries of the manifest that describe the set's origin.
        building: Folder to write to.

    Raises:
        DataError: If a shard is not intact, or so many recordings were skipped that a split lacks a class.
    """
    done = [(shard, _done(shard)) for shard in shards]
    manifest = about | {
        "events": sum(summary["events"] for _, summary in done),
        "skipped": [entry for _, summary in done for entry in summary["skipped"]],
        "parts": {},
    }
    for part in PARTS:
        own = [(shard, summary) for shard, summary in done if shard.part == part]
        _check_classes(title, part, own)
        recordings = [entry for _, summary in own for entry in summary["recordings"]]
        filled = [shard for shard, summary in own if summary["recordings"]]
        sha256 = _write_part(building / f"{part}.npy", filled, len(recordings))
        manifest["parts"][part] = {"sha256": sha256, "recordings": recordings}
    # All frames have the same size, so they have the same levels.
    (manifest["levels"],) = {level for _, summary in done for level in summary["levels"]}
    write_sealed(building / MANIFEST, manifest)
    return manifest


def _done(shard: Shard) -> dict[str, Any]:
    if (summary := read_done(shard)) is None:
        raise DataError(f"{shard.frames}: was changed while the frames were made; the same command goes on")
    return summary


def _check_classes(title: str, part: str, done: list[tuple[Shard, dict[str, Any]]]) -> None:
    """Raise DataError if the split lost a class because recordings were skipped, or has no recordings."""
    left = {label for _, summary in done for _, label in summary["recordings"]}
    skipped = [entry["why"] for _, summary in done for entry in summary["skipped"]]
    wanted = {recording.label for shard, _ in done for recording in shard.recordings}
    if None in wanted:  # a pair's label is in its file, so a skipped pair may have had any label
        wanted = set(range(done[0][0].classes))
    lost = sorted(label for label in wanted - left if label is not None) if skipped else []
    if lost or not left:
        what = f"of class {', '.join(map(str, lost))}" if lost else "at all"
        why = f" (skipped {len(skipped)}, first {skipped[0]})" if skipped else ""
        raise DataError(
            f"{title}: no recording {what} is left in the {part} split; nothing was prepared{why}"
        )


def _write_part(file: Path, shards: list[Shard], n: int) -> str:
    """Write the frames of these shards to one .npy file and return its sha256."""
    pieces = [np.load(shard.frames, mmap_mode="r") for shard in shards]
    dtype = widest([piece.dtype for piece in pieces])
    digest = hashlib.sha256()
    with file.open("wb") as stream:
        header = {"descr": dtype.str, "fortran_order": False, "shape": (n, *pieces[0].shape[1:])}
        write_array_header_1_0(stream, header)
        stream.flush()
        digest.update(file.read_bytes())
        for piece in pieces:
            content = np.ascontiguousarray(piece, dtype).tobytes()
            stream.write(content)
            digest.update(content)
        stream.flush()
        os.fsync(stream.fileno())
    return digest.hexdigest()


def put_in_place(building: Path, folder: Path) -> None:
    """Rename a complete building folder to the prepared set's folder, keeping only the set's three files."""
    whole = {MANIFEST, *(f"{part}.npy" for part in PARTS)}
    for leftover in building.iterdir():  # shards, and partial files of killed processes
        if leftover.name not in whole:
            leftover.unlink()
    if folder.exists():  # made from other recordings, or incomplete
        shutil.rmtree(folder)
    building.rename(folder)
