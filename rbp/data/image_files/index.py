"""The index of a data set of image files: their names by class, and which are broken; made once.

It saves each start from listing a million files, and a run from meeting a broken one in its tenth epoch. Per
part there is NAMES.txt, one CLASS/FILE a line, and manifest.json, written last, says what belongs to it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from rbp.data.checksummed_json import read_sealed, sha256_of, write_sealed
from rbp.data.image_files.broken_files import broken_files, refuse_broken, skipped
from rbp.data.image_files.files_and_labels import ImageFiles, Names
from rbp.data.image_files.listing import ENDINGS, Listing, list_classes, list_files
from rbp.data.image_files.settings import FileSettings
from rbp.errors import DataError
from rbp.files import write_bytes
from rbp.terminal.output import say

FORMAT = 3
MANIFEST = "manifest.json"
PARTS = ("train", "val")


class OtherFilesError(DataError):
    """An index is of another folder, which has other files."""


def make_index(
    root: Path, folder: Path, settings: FileSettings, workers: int | None = None
) -> dict[str, Any]:
    """List and check all files below root/train and root/val, write the index and return its manifest.

    Args:
        root: Folder of the data set.
        folder: Folder of the index.
        settings: Settings of the data set.
        workers: Number of processes; None for one per usable core.

    Raises:
        DataError: Folders are missing or do not fit together, or files are broken and
            `settings.on_error` is "raise".
    """
    listings = {part: list_files(root / part) for part in PARTS}
    refuse_other_classes(root, {part: listing.classes for part, listing in listings.items()}, settings)
    for part, listing in listings.items():
        if listing.left_out:
            say(_left_out(root / part, listing.left_out))
    broken = {part: broken_files(root / part, listing, workers) for part, listing in listings.items()}
    if settings.on_error == "raise":
        refuse_broken([why for found in broken.values() for why in found.values()])
    whole = {part: _whole(root / part, listing, broken[part]) for part, listing in listings.items()}
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "root": str(root.resolve()),
        "classes": listings["train"].classes,
        "parts": {},
        "skipped": [
            {"file": f"{part}/{name}", "why": why}
            for part, found in broken.items()
            for name, why in found.items()
        ],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part, listing in whole.items():
            write_bytes(folder / f"{part}.txt", _as_text(listing))
            digest = sha256_of(folder / f"{part}.txt")
            sizes = [len(files) for files in listing.files]
            manifest["parts"][part] = {"sha256": digest, "sizes": sizes, "times": listing.times}
        write_sealed(folder / MANIFEST, manifest)
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be written: {error.strerror or error}. Make room there, or "
            "choose another folder with dataset.prepared=PATH"
        ) from error
    return manifest


def read_index(root: Path, folder: Path, settings: FileSettings) -> dict[str, Any] | None:
    """Return the manifest of an index; None if there is none.

    It may have been made of another folder with the same names, as where a job unpacks the tar files anew.

    Raises:
        OtherFilesError: The index was made of another folder, and that has other files.
        DataError: The index is damaged, the files have other names than it says, it has another number of
            classes than the settings, or it lists skipped files although `settings.on_error` is "raise".
    """
    file = folder / MANIFEST
    if not file.exists():
        return None
    manifest = read_sealed(file)
    again = f"make it anew with {settings.preparation(root)}"
    if manifest is None or manifest.get("format") != FORMAT:
        raise DataError(f"{file}: is damaged, or of another version; {again}")
    for part in PARTS:
        if _has_its_files(root, folder, part, manifest):
            continue
        if settings.prepared and manifest["root"] != str(root.resolve()):
            raise OtherFilesError(
                f"{root / part}: has other files than {manifest['root']}, of which the index {folder} was "
                "made; choose another folder for an index of this root with dataset.prepared=PATH, or delete "
                "that one"
            )
        raise DataError(
            f"{root / part}: class folders or files were added, removed or renamed since the index "
            f"{folder} was made; {again}"
        )
    refuse_other_classes(root, dict.fromkeys(PARTS, manifest["classes"]), settings)
    if settings.on_error == "raise" and manifest["skipped"]:
        raise DataError(
            f"{folder}: was made with dataset.on_error=skip and lacks {skipped(manifest)}. Set "
            f"dataset.on_error=skip to train on the rest, or mend the files and {again}"
        )
    return manifest


def open_index(
    root: Path, folder: Path, manifest: dict[str, Any], settings: FileSettings
) -> list[ImageFiles]:
    """Return the parts (train, val) of an index, after comparing checksums."""
    if manifest["skipped"]:
        say(f"{folder}: lacks {skipped(manifest)}")
    return [_open(root, folder, part, manifest, settings) for part in PARTS]


def refuse_other_classes(root: Path, classes: dict[str, list[str]], settings: FileSettings) -> None:
    """Raise DataError unless both parts have the same class folders, and as many as the settings say."""
    train, val = (set(classes[part]) for part in PARTS)
    for part, lacking in (("train", val - train), ("val", train - val)):
        if lacking:
            names = ", ".join(sorted(lacking)[:3]) + (", ..." if len(lacking) > 3 else "")
            raise DataError(
                f"{root / part}: lacks {len(lacking)} class{'' if len(lacking) == 1 else 'es'} that the "
                f"other folder has ({names}); train and val must have the same class folders, as "
                "labels are their places in order"
            )
    if len(train) != settings.classes:
        raise DataError(
            f"dataset.classes={settings.classes}: {root / 'train'} has {len(train)} class "
            f"folder{'' if len(train) == 1 else 's'}; set dataset.classes to that, or mend the folders"
        )


def _open(
    root: Path, folder: Path, part: str, manifest: dict[str, Any], settings: FileSettings
) -> ImageFiles:
    names, sizes = Names.of(_read_text(folder, part, manifest)), manifest["parts"][part]["sizes"]
    labels = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes))
    return ImageFiles(root / part, names, torch.arange(len(labels)), labels, settings)


def _has_its_files(root: Path, folder: Path, part: str, manifest: dict[str, Any]) -> bool:
    """Return whether root/part has just the files of an index, by name."""
    if _untouched(root / part, manifest["classes"], manifest["parts"][part]["times"]):
        return True
    # Copied or unpacked anew, folders have other times: then all files are listed.
    left_out = {
        file["file"].removeprefix(f"{part}/")
        for file in manifest["skipped"]
        if file["file"].startswith(f"{part}/")
    }
    found = list_files(root / part)
    indexed = found.without(left_out)
    return len(found) == len(indexed) + len(left_out) and _as_text(indexed) == _read_text(
        folder, part, manifest
    )


def _untouched(folder: Path, classes: list[str], times: list[list[Any]]) -> bool:
    """Return whether a part has just these class folders, and no folder in it changed since it was listed.

    A folder that came later changes the time of the one that it lies in.
    """
    try:
        return list_classes(folder) == classes and all(
            (folder / name).stat().st_mtime_ns == time for name, time in times
        )
    except OSError:  # a folder is gone, or cannot be read: listing says which
        return False


def _left_out(folder: Path, names: list[str]) -> str:
    n = len(names)
    return (
        f"{folder}: leaves out {n:,} entr{'y' if n == 1 else 'ies'} whose name begins with a dot or has "
        f"none of the endings {', '.join(ENDINGS)}: {', '.join(names[:3])}{', ...' if n > 3 else ''}"
    )


def _whole(folder: Path, listing: Listing, broken: dict[str, str]) -> Listing:
    """Return the files that are whole; raise DataError if a class has none."""
    whole = listing.without(broken.keys())
    for name, files in zip(whole.classes, whole.files, strict=True):
        if not files:
            raise DataError(f"{folder / name}: no image of the class is whole; nothing was written")
    return whole


def _as_text(listing: Listing) -> bytes:
    return "".join(f"{name}\n" for name in listing.names()).encode("utf-8", "surrogateescape")


def _read_text(folder: Path, part: str, manifest: dict[str, Any]) -> bytes:
    """Return the names of a part as they were written; raise DataError if they are not those."""
    file = folder / f"{part}.txt"
    try:
        if sha256_of(file) != manifest["parts"][part]["sha256"]:
            raise DataError(f"{file}: is not what was written (sha256 differs); delete {folder}")
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}; delete {folder}") from error
