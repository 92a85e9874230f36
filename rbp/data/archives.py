"""Read zip archives that may be damaged or hostile, with bounded memory; every failure is a DataError."""

import zipfile
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np

from rbp.data.files import broken

# Largest unpacked recording in bytes: 33 million events. The longest known recordings have a tenth of that.
LARGEST = 2**28


def members(path: Path) -> list[zipfile.ZipInfo]:
    """Return the files in an archive, without folders, in the archive's order."""
    return [info for info in _open(str(path), path.stat().st_mtime_ns).infolist() if not info.is_dir()]


def read_member(path: Path, name: str) -> bytes:
    """Return the unpacked content of one file in an archive, checked against its CRC."""
    where = f"{path}: {name}"
    try:
        archive = _open(str(path), path.stat().st_mtime_ns)
    except OSError as error:
        raise broken(path, f"cannot be read: {error.strerror}") from error
    try:
        archive.getinfo(name)
    except KeyError as error:
        raise broken(path, f"has no {name} any more") from error
    return _unpack(archive, name, where)


# Cached so that the directory of an archive with a thousand recordings is read once, not a thousand times.
@lru_cache(maxsize=1)
def _open(path: str, changed: int) -> zipfile.ZipFile:
    """Open an archive; `changed` (its modification time) only serves as part of the cache key."""
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # damaged bytes can raise anything
        raise broken(path, f"is no whole zip archive: {error}") from error


def _unpack(archive: zipfile.ZipFile, name: str, where: str) -> bytes:
    """Return a member's content, using no more memory than its header claims even if it unpacks to more."""
    info = archive.getinfo(name)
    if info.file_size > LARGEST:
        raise broken(where, f"claims to unpack to {info.file_size} bytes; must be at most {LARGEST}")
    # zipfile does not bound the output of the other methods.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise broken(where, f"is packed by method {info.compress_type}; must be stored or deflated")
    try:
        with archive.open(name) as stream:
            content = stream.read(info.file_size)  # without a size, read() inflates everything at once
    except Exception as error:  # damaged, encrypted
        raise broken(where, f"cannot be unpacked: {error}") from error
    if len(content) != info.file_size:
        raise broken(where, f"unpacks to {len(content)} bytes and claims {info.file_size}")
    return content


def check_archive(content: bytes, where: str) -> None:
    """Raise DataError unless content is a zip archive with valid CRCs that unpacks to at most its own size.

    Args:
        content: Bytes of the whole archive.
        where: Name of the file, for error messages.
    """
    archive = _in_memory(content, where)
    if sum(info.file_size for info in archive.infolist()) > len(content):
        raise broken(where, f"claims to unpack to more than its {len(content)} bytes")
    for name in archive.namelist():
        _unpack(archive, name, where)


def _in_memory(content: bytes, where: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(BytesIO(content))
    except Exception as error:  # damaged bytes can raise anything
        raise broken(where, f"is no whole zip archive: {error}") from error


def read_npz(content: bytes, names: tuple[str, ...], where: str) -> list[np.ndarray]:
    """Return the named numeric arrays from the content of a .npz file.

    numpy.load is not used because it allocates as much memory as a damaged header claims.

    Args:
        content: Bytes of the whole .npz file.
        names: Names of the arrays, in the order in which they are returned.
        where: Name of the file, for error messages.

    Raises:
        DataError: If an array is missing, damaged, or not a one-dimensional array of integers or booleans.
    """
    archive = _in_memory(content, where)
    there = set(archive.namelist())
    if missing := [name for name in names if f"{name}.npy" not in there]:
        raise broken(
            where, f"lacks the arrays {', '.join(missing)}; has {', '.join(sorted(there)) or 'none'}"
        )
    return [_npy(_unpack(archive, f"{name}.npy", where), f"{where}: {name}") for name in names]


def _npy(content: bytes, where: str) -> np.ndarray:
    """Return a one-dimensional array of integers or booleans from the content of a .npy file."""
    stream = BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(stream)
    except Exception as error:  # numpy evaluates the header, so damaged text can raise anything
        raise broken(where, f"has no sound npy header: {error!r:.80}") from error
    left = len(content) - stream.tell()
    if dtype.hasobject or dtype.kind not in "iub" or len(shape) != 1:
        raise broken(where, f"is {dtype} {list(shape)}; must be whole numbers [n]")
    if shape[0] * dtype.itemsize != left:
        raise broken(where, f"announces {shape[0]} numbers of {dtype.itemsize} bytes and has {left} bytes")
    return np.frombuffer(content, dtype, offset=stream.tell())
