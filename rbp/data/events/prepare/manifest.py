"""Prepared frames on disk: one .npy file per split, and manifest.json, written last, which describes them.

A folder is valid if its manifest exists, matches its own checksum and the requested framing, and the files
match the checksums that it lists.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rbp.data.checksummed_json import read_sealed, sha256_of
from rbp.data.events.framing import Framing
from rbp.data.images import Images
from rbp.errors import DataError
from rbp.terminal.output import say

FORMAT = 2
MANIFEST = "manifest.json"
PARTS = ("train", "test")


def frame_settings(name: str, framing: Framing) -> dict[str, Any]:
    """Return the settings that decide the frames and must be equal in two sets of the same frames."""
    framed = {k: v for k, v in asdict(framing).items() if k not in ("prepared", "on_error")}
    return {"format": FORMAT, "dataset": name} | framed


def read_manifest(folder: Path, name: str, framing: Framing) -> dict[str, Any] | None:
    """Return the manifest of a folder; None if there is none and the set must be prepared.

    Raises:
        DataError: If the manifest is damaged, describes other frames, or lists skipped recordings although
            `framing.on_error` is "raise".
    """
    file = folder / MANIFEST
    if not file.exists():
        return None
    manifest = read_sealed(file)
    if manifest is None or manifest.get("made_of") != frame_settings(name, framing):
        raise DataError(f"{file}: is damaged, or of other frames; {_again(folder)}")
    if framing.on_error == "raise" and manifest["skipped"]:
        raise DataError(
            f"{folder}: was prepared with dataset.on_error=skip and lacks {_skipped(manifest)}. "
            f"Set dataset.on_error=skip to train on the rest, or mend the files and delete this folder"
        )
    return manifest


def open_prepared(folder: Path, manifest: dict[str, Any]) -> tuple[Images, Images]:
    """Verify the checksums of the frames and return (train, test), memory-mapped."""
    if manifest["skipped"]:
        say(f"{folder}: lacks {_skipped(manifest)}")
    train, test = (_open(folder, part, manifest) for part in PARTS)
    return train, test


def _open(folder: Path, part: str, manifest: dict[str, Any]) -> Images:
    file, said = folder / f"{part}.npy", manifest["parts"][part]
    try:
        if sha256_of(file) != said["sha256"]:
            raise DataError(f"{file}: is not what was prepared (sha256 differs); {_again(folder)}")
        # Mapped copy-on-write because torch wants writable memory; nothing is ever written.
        frames = np.load(file, mmap_mode="c")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}; {_again(folder)}") from error
    labels = torch.tensor([label for _, label in said["recordings"]])
    return Images(torch.from_numpy(frames), labels, manifest["levels"])


def _skipped(manifest: dict[str, Any]) -> str:
    n, first = len(manifest["skipped"]), manifest["skipped"][0]
    more = f" and {n - 1} more, listed in {MANIFEST}" if n > 1 else ""
    return f"{n} skipped recording{'s' if n > 1 else ''}: {first['why']}{more}"


def _again(folder: Path) -> str:
    return f"delete {folder} and prepare it again"
