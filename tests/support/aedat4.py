"""Write AEDAT 4, the format of iniVation's DV: the package `aedat` reads it and writes nothing.

The file is a line of text, then a header, then packets. Header and packets are flatbuffers, laid out here by
hand. https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-4.0.html
"""

import struct

Events = list[tuple[int, int, int, int]]  # t in microseconds, x, y, p

MAGIC = b"#!AER-DAT4.0\r\n"
NONE, LZ4 = 0, 1  # how the packets are compressed
EVENTS, IMUS = 0, 2  # the streams, by their numbers in the header


def aedat4(
    events: Events,
    width: int = 128,
    height: int = 128,
    packet: int = 100,
    compression: int = LZ4,
    closed: bool = True,
) -> bytes:
    """The content of a file with these events, `packet` of them in each packet, and an empty packet of imus.

    A file that was not `closed` properly lacks the table at its end, and its header does not say where it is.
    """
    parts = [events[first : first + packet] for first in range(0, len(events), packet)]
    packets = [(EVENTS, event_packet(part)) for part in parts]
    packets.insert(1, (IMUS, table(b"IMUS", 0, b"")))
    body = b"".join(framed(stream, content, compression) for stream, content in packets)
    head = header(width, height, compression, 0)
    end = len(MAGIC) + len(head) + len(body)
    head = header(width, height, compression, end if closed else -1)
    return MAGIC + head + body + (compressed(table(b"FTAB", 0, b""), compression) if closed else b"")


def framed(stream: int, content: bytes, compression: int) -> bytes:
    """A packet as it lies in the file: the number of its stream, its size and its content."""
    held = compressed(content, compression)
    return struct.pack("<II", stream, len(held)) + held


def compressed(content: bytes, compression: int) -> bytes:
    """As it is, or an LZ4 frame of blocks that are stored as they are."""
    if compression == NONE:
        return content
    pieces = [content[first : first + 2**16] for first in range(0, len(content), 2**16)]
    blocks = (struct.pack("<I", len(piece) | 1 << 31) + piece for piece in pieces)
    return b"\x04\x22\x4d\x18\x60\x40\x82" + b"".join(blocks) + bytes(4)


def event_packet(events: Events) -> bytes:
    return table(b"EVTS", len(events), b"".join(struct.pack("<qhh?3x", t, x, y, p) for t, x, y, p in events))


def table(kind: bytes, n: int, elements: bytes) -> bytes:
    """A flatbuffer with its size in front: a table whose only field is a vector of n structures."""
    root = struct.pack("<I", 16) + kind
    fields = struct.pack("<HHHH", 6, 8, 4, 0)
    content = root + fields + struct.pack("<iII", 8, 4, n) + elements
    return struct.pack("<I", len(content)) + content


def header(width: int, height: int, compression: int, end: int) -> bytes:
    """The flatbuffer that says how packets are compressed, where the table lies (-1: nowhere), what streams
    there are."""
    text = _description(width, height).encode()
    root = struct.pack("<I", 24) + b"IOHE"
    fields = struct.pack("<6xHHHHH", 10, 20, 4, 12, 8)
    # The distance to the fields, the compression, the distance to the text, the place of the table.
    values = struct.pack("<iiIq", 10, compression, 12, end)
    content = root + fields + values + struct.pack("<I", len(text)) + text + b"\0"
    return struct.pack("<I", len(content)) + content


def _description(width: int, height: int) -> str:
    size = f'<attr key="sizeX" type="int">{width}</attr><attr key="sizeY" type="int">{height}</attr>'
    return (
        '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
        f'<node name="{EVENTS}" path="/mainloop/Recorder/outInfo/{EVENTS}/">'
        '<attr key="typeIdentifier" type="string">EVTS</attr>'
        f'<node name="info" path="/mainloop/Recorder/outInfo/{EVENTS}/info/">{size}</node></node>'
        f'<node name="{IMUS}" path="/mainloop/Recorder/outInfo/{IMUS}/">'
        '<attr key="typeIdentifier" type="string">IMUS</attr></node></node></dv>\n'
    )
