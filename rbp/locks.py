"""Files as locks between processes; the system gives one back when its holder ends, however it does."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def take(stream: IO[Any]) -> bool:
    """Lock an open file until it is closed; False where another process holds it."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def alone(file: Path) -> Iterator[bool]:
    """Hold a file's lock while inside; False where another process holds it."""
    with file.open("a") as stream:
        yield take(stream)
