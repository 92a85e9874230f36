"""Python's garbage collector in a process of rbp's own."""

import atexit
import functools
import gc

RARELY = 1000  # how many collections of younger objects come before one of all; Python's default is 10


@functools.cache
def spare_old_objects() -> None:
    """Look for garbage rarely among old objects, and not at all when this process ends.

    Importing torch makes half a million objects that stay. Python would look through all of them seven times
    by the start of a training, and again at the end of the process: a third of the time of a short command.
    Young objects are collected as often as ever.
    """
    gc.set_threshold(*gc.get_threshold()[:2], RARELY)
    atexit.register(gc.freeze)
