"""How many CPU cores this process may use."""

import os


def usable_cores() -> int:
    """Cores of this process: a cluster's job may not use all of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
