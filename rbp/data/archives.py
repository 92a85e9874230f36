"""Bytes out of zip archives that may be damaged or hostile: bounded in memory, every failure a DataError."""

import zipfile
import zlib
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np

from rbp.data.files import broken

LARGEST = 2**30  # bytes of an unpacked recording; the longest known have a tenth of that
# What zipfile raises on damaged archives, beside its own error.
_FAILURES = (
    zipfile.BadZipFile,
    OSError,
    EOFError,
    RuntimeError,  # encrypted
    NotImplementedError,  # packed in an unknown way
    ValueError,
    OverflowError,
    IndexError,
    zlib.error,
)


def members(path: Path) -> list[zipfile.ZipInfo]:
    """The files in an archive, in its order."""
    return [info for info in _open(str(path), path.stat().st_mtime_ns).infolist() if not info.is_dir()]


def read_member(path: Path, name: str) -> bytes:
    """The unpacked content of one file of an archive, checked against its CRC."""
    where = f"{path}: {name}"
    try:
        archive = _open(str(path), path.stat().st_mtime_ns)
    except OSError as error:
        raise broken(path, f"cannot be read: {error.strerror}") from error
    return _unpack(archive, name, where)


@lru_cache(
    maxsize=1
)  # the directory of an archive of a thousand recordings is read once, not a thousand times
def _open(path: str, changed: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except _FAILURES as error:
        raise broken(path, f"is no whole zip archive: {error}") from error


def _unpack(archive: zipfile.ZipFile, name: str, where: str) -> bytes:
    try:
        size = archive.getinfo(name).file_size
        if size > LARGEST:
            raise broken(where, f"claims to unpack to {size} bytes; must be at most {LARGEST}")
        return archive.read(name)
    except (*_FAILURES, KeyError, MemoryError) as error:
        raise broken(where, f"cannot be unpacked: {error}") from error


def check_archive(content: bytes, where: str) -> None:
    """Raise DataError unless the content is a zip archive that unpacks to its own size, with sound CRCs."""
    try:
        archive = zipfile.ZipFile(BytesIO(content))
        if sum(info.file_size for info in archive.infolist()) > len(content):
            raise broken(where, f"claims to unpack to more than its {len(content)} bytes")
        if damaged := archive.testzip():
            raise broken(where, f"has a damaged part, {damaged}")
    except _FAILURES as error:
        raise broken(where, f"is no whole zip archive: {error}") from error


def read_npz(content: bytes, names: tuple[str, ...], where: str) -> list[np.ndarray]:
    """Arrays of numbers by name out of the content of a .npz file.

    Not by numpy.load, which reserves as much memory as a damaged header claims.
    """
    try:
        archive = zipfile.ZipFile(BytesIO(content))
        there = set(archive.namelist())
    except _FAILURES as error:
        raise broken(where, f"is no whole npz archive: {error}") from error
    if missing := [name for name in names if f"{name}.npy" not in there]:
        raise broken(
            where, f"lacks the arrays {', '.join(missing)}; has {', '.join(sorted(there)) or 'none'}"
        )
    return [_npy(_unpack(archive, f"{name}.npy", where), f"{where}: {name}") for name in names]


def _npy(content: bytes, where: str) -> np.ndarray:
    """A one-dimensional array of whole numbers or truth values from the content of a .npy file."""
    stream = BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(stream)
    except Exception as error:  # numpy evaluates the header: damaged text can fail in any way
        raise broken(where, f"has no sound npy header: {error!r:.80}") from error
    left = len(content) - stream.tell()
    if dtype.hasobject or dtype.kind not in "iub" or len(shape) != 1:
        raise broken(where, f"is {dtype} {list(shape)}; must be whole numbers [n]")
    if shape[0] * dtype.itemsize != left:
        raise broken(where, f"announces {shape[0]} numbers of {dtype.itemsize} bytes and has {left} bytes")
    return np.frombuffer(content, dtype, offset=stream.tell())
