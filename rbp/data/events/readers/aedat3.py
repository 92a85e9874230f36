"""Read AEDAT 3.1, the format of cAER and of DVS128 Gesture, recorded with a sensor of 128 x 128 pixels."""

import struct

import numpy as np

from rbp.data.events.events import Events, from_xyp
from rbp.data.files import broken

SIDE = 128
_MAGIC, _END = b"#!AER-DAT3.1", b"#!END-HEADER"
# Header of a packet: event type, source, bytes per event, offset of the time within an event, overflow (how
# often 2^31 us have passed), capacity, number of events, number of valid events. The file holds the whole
# capacity, which decides where the next packet begins. Events fill its beginning; the rest is meaningless.
_PACKET = struct.Struct("<HHIIIIII")
_POLARITY = 1
_EVENT = np.dtype([("data", "<u4"), ("t", "<i4")])


def read_aedat3(content: bytes, where: str) -> Events:
    """Return the valid polarity events in the content of an AEDAT 3.1 file.

    The format: header lines that begin with #, then packets of events. A polarity event is (data, time in
    microseconds), little-endian 32 bits each. In data, bit 0 is the valid flag, bit 1 the polarity, bits 2 to
    16 are y and bits 17 to 31 are x. Packets of other types are skipped.

    Args:
        content: Bytes of the whole file.
        where: Name of the file, for error messages.

    Raises:
        DataError: If the content is damaged, has no events or time goes back.
    """
    position = _end_of_header(content, where)
    data, times = [], []
    while position < len(content):
        if len(content) - position < _PACKET.size:
            raise broken(where, f"is cut short in the header of a packet, at byte {position}")
        kind, _, size, _, overflow, room, number, _ = _PACKET.unpack_from(content, position)
        position += _PACKET.size
        if room * size > len(content) - position:
            raise broken(where, f"is cut short in a packet of {room} events, at byte {position}")
        if number > room:
            raise broken(where, f"has a packet of {number} events in room for {room}, at byte {position}")
        if kind == _POLARITY:
            if size != _EVENT.itemsize:
                raise broken(
                    where, f"has a packet with events of {size} bytes, at byte {position}; must be 8"
                )
            events = np.frombuffer(content, _EVENT, number, position)
            data.append(events["data"])
            times.append(events["t"].astype(np.int64) + (overflow << 31))
        position += room * size
    if not data:
        raise broken(where, "has no packet of polarity events")
    return _decode(np.concatenate(data), np.concatenate(times), where)


def _decode(data: np.ndarray, t: np.ndarray, where: str) -> Events:
    valid = (data & 1) == 1
    data, t = data[valid], t[valid]
    x, y, p = data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1
    return from_xyp(t, x, y, p, SIDE, where)


def _end_of_header(content: bytes, where: str) -> int:
    if not content:
        raise broken(where, "is empty")
    if not content.startswith(_MAGIC):
        raise broken(where, f"is no AEDAT 3.1: begins with {content[:12]!r}, not {_MAGIC!r}")
    marker = content.find(b"\n" + _END)
    end = content.find(b"\n", marker + 1)
    if marker < 0 or end < 0:
        raise broken(where, f"has no line {_END.decode()} behind its header")
    return end + 1
