"""Read the .bin files of N-MNIST, recorded with an ATIS camera and cut to 34 x 34 pixels."""

import numpy as np

from rbp.data.events.events import Events, from_xyp
from rbp.data.files import broken

SIDE = 34
_BYTES = 5  # of an event
_OVERFLOW = 240  # the y of a row that is no event: the camera's clock has overflown once more
_PERIOD = 2**13  # microseconds that each overflow adds to the times behind it


def read_nmnist(content: bytes, where: str) -> Events:
    """Return the events in the content of a .bin file of N-MNIST.

    The format: 5 bytes an event, x, y, and 24 bits with the most significant byte first: the polarity, then
    the time in microseconds. A file that is cut behind a whole event cannot be told from a shorter recording.

    Args:
        content: Bytes of the whole file.
        where: Name of the file, for error messages.

    Raises:
        DataError: If the content is cut short, off the sensor, has no events or time goes back.
    """
    if not content:
        raise broken(where, "is empty")
    if rest := len(content) % _BYTES:
        raise broken(where, f"is cut short: {rest} bytes are left over after the last whole event")
    x, y, high, middle, low = np.frombuffer(content, np.uint8).reshape(-1, _BYTES).T.astype(np.int64)
    overflow = y == _OVERFLOW
    t = ((high & 0x7F) << 16 | middle << 8 | low) + _PERIOD * overflow.cumsum()
    event = ~overflow
    return from_xyp(t[event], x[event], y[event], high[event] >> 7, SIDE, where)
