"""The index of a data set of image files: their names by class, and which are broken; made once.

It saves each start from listing a million files, and a run from meeting a broken one in its tenth epoch. Per
part there is NAMES.txt, one CLASS/FILE a line, and manifest.json, written last, says what belongs to it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from rbp.data.events.prepare.checksummed_json import read_sealed, sha256_of, write_sealed
from rbp.data.image_files.decode import check
from rbp.data.image_files.image_files import ImageFiles, Names
from rbp.data.image_files.listing import Listing, list_classes, list_files
from rbp.data.image_files.settings import FileSettings
from rbp.data.image_files.workers import in_workers
from rbp.errors import DataError
from rbp.files import write_bytes
from rbp.output import Screen, say

FORMAT = 1
MANIFEST = "manifest.json"
PARTS = ("train", "val")
_PIECE = 64  # files that a worker checks at once
_NAMED = 10  # broken files that are named in a message


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
    made = {part: state(root / part) for part in PARTS}  # first: a file that comes later is noticed
    listings = {part: list_files(root / part) for part in PARTS}
    _refuse_other_classes(root, listings, settings)
    broken = {part: _broken(root / part, listing, workers) for part, listing in listings.items()}
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "classes": listings["train"].classes,
        "parts": {},
        "skipped": [],
    }
    if settings.on_error == "raise":
        _refuse_broken([why for found in broken.values() for why in found.values()])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part, listing in listings.items():
            sizes = _write_names(folder / f"{part}.txt", root / part, listing, broken[part])
            digest = sha256_of(folder / f"{part}.txt")
            manifest["parts"][part] = {"sha256": digest, "sizes": sizes, "state": made[part]}
            manifest["skipped"] += [
                {"file": f"{part}/{name}", "why": why} for name, why in broken[part].items()
            ]
        write_sealed(folder / MANIFEST, manifest)
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be written: {error.strerror or error}. Make room there, or "
            "choose another folder with dataset.prepared=PATH"
        ) from error
    return manifest


def read_index(root: Path, folder: Path, settings: FileSettings) -> dict[str, Any] | None:
    """Return the manifest of an index; None if there is none.

    Raises:
        DataError: The index is damaged, the folders have changed since, or it lists skipped files although
            `settings.on_error` is "raise".
    """
    file = folder / MANIFEST
    if not file.exists():
        return None
    manifest = read_sealed(file)
    again = "rbp data prepare makes it anew"
    if manifest is None or manifest.get("format") != FORMAT:
        raise DataError(f"{file}: is damaged, or of another version; {again}")
    for part in PARTS:
        if state(root / part) != manifest["parts"][part]["state"]:
            raise DataError(
                f"{root / part}: class folders or files were added, removed or renamed since the index "
                f"{folder} was made; {again}"
            )
    if settings.on_error == "raise" and manifest["skipped"]:
        raise DataError(
            f"{folder}: was made with dataset.on_error=skip and lacks {skipped(manifest)}. Set "
            f"dataset.on_error=skip to train on the rest, or mend the files and delete this folder"
        )
    return manifest


def open_index(
    root: Path, folder: Path, manifest: dict[str, Any], settings: FileSettings
) -> list[ImageFiles]:
    """Return the parts (train, val) of an index, after comparing checksums."""
    if manifest["skipped"]:
        say(f"{folder}: lacks {skipped(manifest)}")
    return [_open(root, folder, part, manifest, settings) for part in PARTS]


def state(folder: Path) -> list[list[Any]]:
    """Return the name and modification time of each class folder: that changes with the names in it."""
    try:
        return [[name, (folder / name).stat().st_mtime_ns] for name in list_classes(folder)]
    except OSError as error:
        raise DataError(f"{error.filename}: the folder cannot be read: {error.strerror}") from error


def skipped(manifest: dict[str, Any]) -> str:
    """Return how many files were skipped, and which, as text."""
    n, first = len(manifest["skipped"]), manifest["skipped"][0]
    more = f" and {n - 1} more, listed in {MANIFEST}" if n > 1 else ""
    return f"{n} skipped file{'s' if n > 1 else ''}: {first['why']}{more}"


def _open(
    root: Path, folder: Path, part: str, manifest: dict[str, Any], settings: FileSettings
) -> ImageFiles:
    file, said = folder / f"{part}.txt", manifest["parts"][part]
    try:
        if sha256_of(file) != said["sha256"]:
            raise DataError(f"{file}: is not what was written (sha256 differs); delete {folder}")
        names = Names.of(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}; delete {folder}") from error
    labels = torch.from_numpy(np.repeat(np.arange(len(said["sizes"])), said["sizes"]))
    return ImageFiles(root / part, names, torch.arange(len(labels)), labels, settings)


def _refuse_other_classes(root: Path, listings: dict[str, Listing], settings: FileSettings) -> None:
    train, val = (set(listings[part].classes) for part in PARTS)
    for part, lacking in (("train", val - train), ("val", train - val)):
        if lacking:
            names = ", ".join(sorted(lacking)[:3]) + (", ..." if len(lacking) > 3 else "")
            raise DataError(
                f"{root / part}: lacks {len(lacking)} classes that the other folder has ({names}); train and "
                "val must have the same class folders, as labels are their places in order"
            )
    if len(train) != settings.classes:
        raise DataError(
            f"dataset.classes={settings.classes}: {root / 'train'} has {len(train)} class folders; set "
            "dataset.classes to that, or mend the folders"
        )


def _broken(folder: Path, listing: Listing, workers: int | None) -> dict[str, str]:
    """Return what is wrong with each broken file of a part, by CLASS/FILE, after decoding all of them."""
    names = [
        f"{name}/{file}" for name, files in zip(listing.classes, listing.files, strict=True) for file in files
    ]

    def look(piece: range) -> list[tuple[str, str]]:
        found = []
        for name in (names[number] for number in piece):
            try:
                check(folder / name)
            except DataError as error:
                found.append((name, str(error)))
        return found

    pieces: Sequence[range] = [range(i, min(i + _PIECE, len(names))) for i in range(0, len(names), _PIECE)]
    screen = Screen(stderr=True)
    looked = track(
        in_workers(look, pieces, workers),
        f"checking {folder}",
        total=len(pieces),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )
    return dict(entry for found in looked for entry in found)


def _refuse_broken(whys: list[str]) -> None:
    if whys:
        more = f"\nand {len(whys) - _NAMED} more" if len(whys) > _NAMED else ""
        raise DataError("\n".join(whys[:_NAMED]) + more + "\nOr leave them out with dataset.on_error=skip")


def _write_names(file: Path, folder: Path, listing: Listing, broken: dict[str, str]) -> list[int]:
    """Write the names of the files that are whole, and return how many each class has."""
    lines, sizes = [], []
    for name, files in zip(listing.classes, listing.files, strict=True):
        whole = [f"{name}/{image}" for image in files if f"{name}/{image}" not in broken]
        if not whole:
            raise DataError(f"{folder / name}: no image of the class is whole; nothing was written")
        lines += whole
        sizes.append(len(whole))
    text = "".join(f"{line}\n" for line in lines)
    write_bytes(file, text.encode("utf-8", "surrogateescape"))
    return sizes
