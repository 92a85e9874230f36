"""Read AEDAT 4.0, the format of iniVation's DV, as tonic has CIFAR10-DVS; by the package `aedat`.

https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-4.0.html
"""

from importlib.util import find_spec

from rbp.data.events.events import Events, from_xyp
from rbp.data.events.readers.aedat4_process import decode
from rbp.data.files import broken
from rbp.errors import ConfigError

SIDE = 128
_MAGIC = b"#!AER-DAT4.0\r\n"


def read_aedat4(content: bytes, where: str) -> Events:
    """Return the events in the content of an AEDAT 4.0 file of a sensor of 128 x 128 pixels.

    x and y are taken as they are in the file: x counts from the left, y from the top. Streams of other kinds
    (frames, imu, triggers) are passed over. A file whose recorder was killed does not say where it ends, so
    that a cut between two of its packets goes unnoticed.

    Args:
        content: Bytes of the whole file.
        where: Name of the file, for error messages.

    Raises:
        ConfigError: If the package `aedat` is not installed.
        DataError: If the content is damaged, is of another sensor, has no events or time goes back.
        UserError: If the system ended the process that decodes.
    """
    require_aedat(where)
    if not content:
        raise broken(where, "is empty")
    if not content.startswith(_MAGIC):
        raise broken(where, f"is no AEDAT 4.0: begins with {content[:12]!r}, not {_MAGIC[:12]!r}")
    sizes, events = decode(content, where)
    if len(sizes) != 1:
        raise broken(where, f"has {len(sizes)} streams of events; must have one")
    if sizes[0] != (SIDE, SIDE):
        raise broken(
            where, f"is of a sensor of {sizes[0][0]} x {sizes[0][1]} pixels; must be {SIDE} x {SIDE}"
        )
    return from_xyp(events["t"], events["x"], events["y"], events["p"], SIDE, where)


def require_aedat(where: str) -> None:
    """Raise ConfigError unless the package `aedat` is installed.

    Args:
        where: Name of the file that is to be read, for the error message.
    """
    if find_spec("aedat") is None:
        raise ConfigError(f"{where}: AEDAT 4.0 needs the package aedat: pip install 'rbp-snn[aedat]'")
