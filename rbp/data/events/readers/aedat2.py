"""Read AEDAT 2.0, the format of jAER and of CIFAR10-DVS, recorded with a sensor of 128 x 128 pixels."""

import numpy as np

from rbp.data.events.events import Events, check_times
from rbp.data.files import broken
from rbp.errors import DataError

SIDE = 128
_MAGIC = b"#!AER-DAT2.0"


def read_aedat2(content: bytes, where: str) -> Events:
    """Return the events in the content of an AEDAT 2.0 file.

    The format: header lines that begin with #, then pairs of big-endian 32-bit numbers (address, time in
    microseconds) with address = (127 - x) << 8 | (127 - y) << 1 | (1 - p).

    Args:
        content: Bytes of the whole file.
        where: Name of the file, for error messages.

    Raises:
        DataError: If the content is damaged, has no events or time goes back.
    """
    start = _end_of_header(content, where)
    if size := (len(content) - start) % 8:
        raise broken(where, f"is cut short: {size} bytes are left over after the last whole event")
    words = np.frombuffer(content, ">u4", offset=start)
    address, t = words[::2].astype(np.uint32), words[1::2].astype(np.uint32)
    if len(t) and address.max() >= 2 * SIDE**2:
        at = int((address >= 2 * SIDE**2).argmax())
        raise broken(
            where, f"event {at} has the address {address[at]:#x}, off the sensor of {SIDE} x {SIDE} pixels"
        )
    return check_times(Events(t, _cells(address.astype(np.uint16)), SIDE), where)


def _cells(address: np.ndarray) -> np.ndarray:
    """Return (p * 128 + y) * 128 + x, int64 [n], for addresses uint16 [n], which are overwritten."""
    x_y_p = np.invert(address, out=address)  # x << 8 | y << 1 | p, plus the unused highest bit
    cell = x_y_p & 1
    cell <<= 7
    cell |= (x_y_p >> 1) & 127
    cell <<= 7
    cell |= (x_y_p >> 8) & 127
    return cell.astype(np.int64)


def _end_of_header(content: bytes, where: str) -> int:
    if not content:
        raise broken(where, "is empty")
    if content.startswith(b"#!AER-DAT4.0"):
        raise DataError(f"{where}: is AEDAT 4.0; give its name the ending .aedat4")
    if not content.startswith(_MAGIC):
        raise broken(where, f"is no AEDAT 2.0: begins with {content[:12]!r}, not {_MAGIC!r}")
    position = 0
    while content[position : position + 1] == b"#":
        newline = content.find(b"\n", position)
        if newline < 0:
            raise broken(where, "is cut short in its header")
        position = newline + 1
    return position
