"""What every worker process that reads or prepares data needs."""

import multiprocessing
import threading
from os import _exit


def end_with_parent() -> None:
    """End this process as soon as its parent has ended, however that ended; return at once.

    Otherwise a worker whose parent was killed would wait for work, and hold the parent's locks.
    """
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    _exit(1)
