"""Count the CPU cores that this process may use."""

import os


def usable_cores() -> int:
    """Return the number of CPU cores this process may use; a cluster job may get only some of a node's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
