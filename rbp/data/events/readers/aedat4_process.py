"""Keep the process that decodes AEDAT 4, and tell a damaged file from a process that something else ended."""

import atexit
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rbp.data.events.readers.aedat4_child import EVENT, SIZE
from rbp.data.files import broken
from rbp.errors import ConfigError, UserError

_CHILD = Path(__file__).with_name("aedat4_child.py")
# How a process ends itself on bytes that it cannot handle.
_DAMAGE = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP}


def decode(content: bytes, where: str) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Return what the package `aedat` finds in a file.

    Args:
        content: Bytes of the whole file.
        where: Name of the file, for error messages.

    Returns:
        Width and height of each stream of events, and the events of all: fields t, x, y and p, [n].

    Raises:
        DataError: If `aedat` refuses the content, or aborts on it.
        UserError: If something else ended the process, which says nothing about the file.
    """
    child = _child(os.getpid())
    try:
        head, events = _ask(child, content)
    except (OSError, EOFError) as error:
        raise _ended(child, where) from error
    except BaseException:  # an answer that is left unread would be taken for that to the next file
        child.kill()
        _forget(child)
        raise
    if "error" in head:
        raise broken(where, f"cannot be read as AEDAT 4.0: {head['error']}")
    return [(width, height) for width, height in head["streams"]], events


@lru_cache(maxsize=1)
def _child(owner: int) -> subprocess.Popen[bytes]:
    """Start a process that decodes; `owner`, this process, is only the cache key: a fork starts its own."""
    child = subprocess.Popen(
        [sys.executable, "-P", str(_CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # where Rust reports panics
    )
    atexit.register(_stop, child, owner)
    return child


def _forget(child: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process; the next file gets another."""
    _child.cache_clear()
    _stop(child, os.getpid())


def _stop(child: subprocess.Popen[bytes], owner: int) -> None:
    """End a process by the end of its input, unless this is a fork of the one that started it."""
    if os.getpid() == owner:
        assert child.stdin is not None and child.stdout is not None
        with suppress(OSError):  # it has ended already, and not read all
            child.stdin.close()
        child.stdout.close()
        child.wait()


def _ask(child: subprocess.Popen[bytes], content: bytes) -> tuple[dict[str, Any], np.ndarray]:
    """Return the answer to a file's content; raise OSError or EOFError if the process ends before that."""
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(SIZE.pack(len(content)) + content)
    child.stdin.flush()
    line = child.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    head = json.loads(line)
    size = head.get("n", 0) * EVENT.itemsize
    events = child.stdout.read(size)
    if len(events) < size:
        raise EOFError
    return head, np.frombuffer(events, EVENT)


def _ended(child: subprocess.Popen[bytes], where: str) -> UserError:
    """Return the error for a process that ended while it read a file."""
    _forget(child)
    code = child.returncode
    if -code in _DAMAGE:
        return broken(where, f"is damaged: the package aedat aborts on it ({signal.Signals(-code).name})")
    if code >= 0:
        return ConfigError(
            f"{where}: the package aedat does not run (exit code {code}); see python -c 'import aedat', and "
            "install it again: pip install --force-reinstall 'rbp-snn[aedat]'"
        )
    return UserError(
        f"{where}: the process that reads AEDAT 4.0 was ended by signal {-code}, perhaps by the system "
        "for want of memory. What is done is kept, the same command goes on"
    )
