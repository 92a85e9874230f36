"""Find, fetch and read the files of a data set; whatever is wrong with them is a DataError that names it."""

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

_PATIENCE = 30.0  # seconds without an answer from the network


@dataclass(frozen=True)
class Source:
    """What a data set looks like on disk, and who fetches it."""

    name: str
    folders: tuple[str, ...]  # below root, where the files may lie; the first that has any counts
    files: tuple[str, ...]
    suffixes: tuple[str, ...]  # what may follow a file's name; the first that is there counts
    fetch: Callable[[str], object]  # downloads to a root folder and checks what it got
    by_hand: str  # how else one gets the files


def locate(source: Source, root: str, download: bool) -> list[Path]:
    """The files of a data set, in the order of `source.files`.

    Fetches them if there is none and `download` says so; raises DataError if they are not all there then.
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
    """All the files; [] if there is none; DataError if there are only some."""
    for folder in (top / name for name in source.folders):
        names = _listing(folder)
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


def _listing(folder: Path) -> set[str]:
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
    """Download to a folder; what went wrong, if anything, in words. Leaves no empty folders behind."""
    paths = {path for name in source.folders for path in (top / name, *(top / name).parents)}
    new = sorted((path for path in paths if not os.path.lexists(path)), reverse=True)  # innermost first
    try:
        with _network_patience():
            source.fetch(str(top))
    except (OSError, RuntimeError, HTTPException) as error:  # torchvision raises all three
        for folder in new:
            with suppress(OSError):  # not made, or not empty
                folder.rmdir()
        return f"the download failed: {' '.join(str(error).split())}"
    return "the download brought other files"


@contextmanager
def _network_patience() -> Iterator[None]:
    # torchvision sets no time limit: behind a firewall that swallows packets it would wait for ever.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def read(path: Path) -> bytes:
    """The content of a file, unpacked if its name ends in .gz."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:  # gzip raises all three
        reason = getattr(error, "strerror", None) or str(error)
        raise broken(path, f"cannot be read: {reason}") from error


def broken(path: Path | str, what: str) -> DataError:
    """The error for a file that is there and wrong, or for a part of one such as ARCHIVE.zip: MEMBER."""
    return DataError(f"{path}: {what}. Replace the file, or delete the data set and fetch it again")
