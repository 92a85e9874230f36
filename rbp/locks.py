"""File locks between processes; the operating system releases a lock however its holder ends."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rbp.errors import ConfigError

POLL_SECONDS = 0.02
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # error codes of file systems without locks


def try_lock(file: Path, wait: float | None = 0.0, holder: str = "") -> FileLock | None:
    """Lock a file until `.release()` is called or this process ends.

    Args:
        file: The lock file. It is created if it is missing, and stays after the release.
        wait: Seconds to wait while another process holds the lock; None waits without limit.
        holder: Text to write into the file, so that other processes can see who holds the lock.

    Returns:
        The lock, or None if another process still holds it.

    Raises:
        ConfigError: The file system does not support locks.
        OSError: The file cannot be written.
    """
    lock = FileLock(
        file,
        timeout=-1 if wait is None else wait,
        poll_interval=POLL_SECONDS,
        thread_local=False,
        fallback_to_soft=False,  # a soft lock (a marker file) would outlive a killed holder
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
    """Hold a file's lock inside the block; yield False if another process still holds it.

    The arguments and exceptions are those of `try_lock`.
    """
    lock = try_lock(file, wait)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def passing_lock(file: Path) -> Iterator[None]:
    """Wait for a file's lock, hold it inside the block, and remove the file.

    Whoever waits for it meanwhile locks a new one: filelock looks whether the one it got still exists.

    Raises:
        ConfigError, OSError: As by `try_lock`.
    """
    with locked(file, wait=None):
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def _sign(descriptor: int, holder: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, holder.encode(), 0)
