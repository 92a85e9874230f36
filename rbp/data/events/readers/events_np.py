"""Read SpikingJelly's events_np format: one .npz file per recording with the arrays t, x, y and p."""

import numpy as np

from rbp.data.archives import read_npz
from rbp.data.events.events import Events, from_xyp
from rbp.data.files import broken


def read_events_np(content: bytes, side: int, where: str) -> Events:
    """Return the events in the content of a .npz file.

    Args:
        content: Bytes of the whole file.
        side: Side of the sensor in pixels.
        where: Name of the file, for error messages.

    Raises:
        DataError: If the content is damaged, has no events or time goes back.
    """
    t, x, y, p = read_npz(content, ("t", "x", "y", "p"), where)
    if len({len(t), len(x), len(y), len(p)}) > 1:
        raise broken(where, f"has {len(t)} times, {len(x)} x, {len(y)} y and {len(p)} polarities")
    # Unsigned or narrow integers would overflow where positions are computed.
    x, y, p = (values.astype(np.int64) for values in (x, y, p))
    return from_xyp(t, x, y, p, side, where)
