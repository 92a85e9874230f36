"""Locks between processes: one holder at a time, given back however it ends; named where there are none."""

import errno
import fcntl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rbp.errors import ConfigError
from rbp.locks import locked, try_lock

HOLDS = """
import sys, time
from pathlib import Path
from rbp.locks import try_lock
lock = try_lock(Path(sys.argv[1]), holder="the other")
print(lock is not None, flush=True)
time.sleep(60)
"""


def test_another_process_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(file)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"True\n"
        assert try_lock(file) is None and file.read_text() == "the other"
        start = time.monotonic()
        with locked(file, wait=0.3) as alone:
            assert not alone and time.monotonic() - start >= 0.3
        assert file.read_text() == "the other"
        other.kill()
    with locked(file, wait=None) as alone:
        assert alone
    assert file.exists()  # others may wait for it


def test_a_holder_signs_and_one_without_a_name_leaves_the_text(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text("a longer text than the next")
    lock = try_lock(file, holder="me")
    assert lock is not None and file.read_text() == "me" and try_lock(file) is None
    lock.release()
    with locked(file) as alone:
        assert alone and file.read_text() == "me"


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuses(*_: object) -> None:
        raise OSError(code, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(ConfigError, match=r"lock: its file system has no locks .* runs_dir=PATH"):
        try_lock(tmp_path / "lock")
    assert not any(file.name.endswith(".lock") for file in tmp_path.iterdir())  # no marker in its place
