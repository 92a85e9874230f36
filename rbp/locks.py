"""Files as locks between processes; the system gives one back when its holder ends, however it does."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rbp.errors import ConfigError

POLL_SECONDS = 0.02
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # what file systems without locks answer


def try_lock(file: Path, wait: float | None = 0.0, holder: str = "") -> FileLock | None:
    """Lock a file until `.release()` is called or this process ends.

    Args:
        file: the lock's file, made if it is missing. It stays.
        wait: seconds to wait for another process that holds it; None: as long as it takes.
        holder: text to leave in the file, that tells others who holds it.

    Returns:
        The lock; None if another process still holds it.

    Raises:
        ConfigError: The file system has no locks.
        OSError: The file cannot be written.
    """
    lock = FileLock(
        file,
        timeout=-1 if wait is None else wait,
        poll_interval=POLL_SECONDS,
        thread_local=False,
        fallback_to_soft=False,  # a marker file would outlive a holder that is killed
        preserve_lock_file=True,
        on_acquired=(lambda descriptor: _sign(descriptor, holder)) if holder else None,
    )
    try:
        lock.acquire()
    except Timeout:
        return None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise ConfigError(
                f"{file}: its file system has no locks (flock), which keep two processes from the same run; "
                "choose a folder on another one, as with runs_dir=PATH"
            ) from error
        raise
    return lock


@contextmanager
def locked(file: Path, wait: float | None = 0.0) -> Iterator[bool]:
    """Hold a file's lock inside the block; yields False where another process still holds it.

    Args and errors are those of `try_lock`.
    """
    lock = try_lock(file, wait)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def _sign(descriptor: int, holder: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, holder.encode(), 0)
