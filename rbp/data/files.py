"""Find, download and read the files of a data set; any problem with a file is a DataError that names it."""

import gzip
import os
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from rbp.errors import DataError

_PATIENCE = 30.0  # seconds to wait for an answer from the network


@dataclass(frozen=True)
class Source:
    """The layout of a data set on disk, and how to download it.

    Attributes:
        name: Name of the data set, for messages.
        folders: Folders below the root that may hold the files; the first one with any of them is used.
        files: Names of the files, without suffix.
        suffixes: Suffixes that a file's name may have; the first one that exists is used.
        fetch: Function that downloads the data set to a root folder and verifies it.
        by_hand: How to get the files without `fetch`, for error messages.
    """

    name: str
    folders: tuple[str, ...]
    files: tuple[str, ...]
    suffixes: tuple[str, ...]
    fetch: Callable[[str], object]
    by_hand: str


def locate(source: Source, root: str, download: bool) -> list[Path]:
    """Return the paths of a data set's files, in the order of `source.files`.

    Args:
        source: Layout of the data set.
        root: Folder of the data set.
        download: Whether to download the files if none of them exists.

    Raises:
        DataError: If files are missing, also after the download.
    """
    top = Path(root).expanduser().absolute()
    if paths := _present(source, top):
        return paths
    reason, advice = "dataset.download is false", "set dataset.download=true"
    if download:
        reason, advice = _fetch(source, top), "try again where there is a network"
        if paths := _present(source, top):
            return paths
    raise DataError(
        f"dataset.root={root}: {source.name} is not there ({_state(top)}), and {reason}. Expected in "
        f"{' or '.join(str(top / folder) for folder in source.folders)}: {', '.join(source.files)}. "
        f"Point dataset.root at the folder that has them, {advice}, or {source.by_hand}"
    )


def _present(source: Source, top: Path) -> list[Path]:
    """Return all the files, or [] if there are none; raise DataError if only some of them exist."""
    for folder in (top / name for name in source.folders):
        names = listing(folder)
        found = [_first(file, source.suffixes, names) for file in source.files]
        missing = [file for file, name in zip(source.files, found, strict=True) if name is None]
        if not missing:
            return [folder / name for name in found if name]
        if len(missing) < len(source.files):
            raise DataError(
                f"{folder}: {source.name} is incomplete, missing: {', '.join(missing)}. Add what is missing, "
                f"or delete the rest and set dataset.download=true"
            )
    return []


def _first(file: str, suffixes: tuple[str, ...], names: set[str]) -> str | None:
    return next((file + suffix for suffix in suffixes if file + suffix in names), None)


def listing(folder: Path) -> set[str]:
    """Return the names in a folder, none if there is no such folder; raise DataError if it cannot be read."""
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read: {error.strerror}") from error


def _state(top: Path) -> str:
    if top.is_dir():
        return "the folder has none of its files"
    return "not a folder" if top.exists() else "no such folder"


def _fetch(source: Source, top: Path) -> str:
    """Download a data set to a folder and return why its files may still be missing.

    Folders that a failed download created and left empty are removed.
    """
    paths = {path for name in source.folders for path in (top / name, *(top / name).parents)}
    new = sorted((path for path in paths if not os.path.lexists(path)), reverse=True)  # innermost first
    try:
        with _network_patience():
            source.fetch(str(top))
    except (OSError, RuntimeError, HTTPException) as error:  # torchvision raises all three
        for folder in new:
            with suppress(OSError):  # never created, or not empty
                folder.rmdir()
        return f"the download failed: {' '.join(str(error).split())}"
    return "the download brought other files"


@contextmanager
def _network_patience() -> Iterator[None]:
    # torchvision sets no timeout: it would hang forever behind a firewall that drops packets.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def read(path: Path) -> bytes:
    """Return the content of a file, decompressed if its name ends in .gz."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:  # gzip raises all three
        reason = getattr(error, "strerror", None) or str(error)
        raise broken(path, f"cannot be read: {reason}") from error


def broken(path: Path | str, what: str) -> DataError:
    """Return the DataError for a damaged or unexpected file, or for a part of one ("ARCHIVE.zip: MEMBER")."""
    return DataError(f"{path}: {what}. Replace the file, or delete the data set and fetch it again")
