"""AEDAT 4 is decoded in a process of its own: what ends it is told apart, and the next file is read."""

import os
import signal
import sys
from pathlib import Path

import pytest

from rbp.cli import main
from rbp.data.events.readers.aedat2 import read_aedat2
from rbp.data.events.readers.aedat4 import read_aedat4
from rbp.data.events.readers.aedat4_process import _child
from rbp.data.events.sets.cifar10_dvs import cifar10_dvs, find
from rbp.errors import ConfigError, DataError, UserError
from tests.support.aedat4 import NONE, aedat4
from tests.support.event_recordings import aedat2, framing, random_events, write_cifar10_dvs

pytestmark = pytest.mark.usefixtures("one_thread")

GOOD = aedat4(random_events(50, 0))


def aborting() -> bytes:
    """A file whose description is no UTF-8, on which `aedat` 2.3.0 ends the process by SIGABRT."""
    return GOOD.replace(b"</dv>", b"</\xd2v>")


def test_a_file_on_which_aedat_aborts_is_named_and_the_next_is_read() -> None:
    for _ in range(2):
        with pytest.raises(DataError, match=r"^FILE: (is damaged|cannot be read)"):
            read_aedat4(aborting(), "FILE")
        assert len(read_aedat4(GOOD, "FILE")) == 50


def test_a_process_that_was_killed_says_nothing_of_the_file() -> None:
    read_aedat4(GOOD, "FILE")
    _child(os.getpid()).kill()
    with pytest.raises(UserError, match=r"^FILE: .* was ended by signal 9") as told:
        read_aedat4(GOOD, "FILE")
    assert not isinstance(told.value, DataError)  # which on_error=skip would leave out
    assert len(read_aedat4(GOOD, "FILE")) == 50


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_an_answer_that_was_not_read_is_not_taken_for_the_next(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(line: bytes) -> None:
        raise error

    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr("rbp.data.events.readers.aedat4_process.json.loads", interrupted)
        read_aedat4(GOOD, "FILE")
    assert len(read_aedat4(aedat4(random_events(7, seed=1)), "OTHER")) == 7


def test_what_preempts_a_job_does_not_end_the_process() -> None:
    read_aedat4(GOOD, "FILE")
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
        _child(os.getpid()).send_signal(number)
        assert len(read_aedat4(GOOD, "FILE")) == 50


def test_a_fork_has_a_process_of_its_own() -> None:
    read_aedat4(GOOD, "FILE")
    ours = _child(os.getpid()).pid
    if (forked := os.fork()) == 0:
        done = len(read_aedat4(GOOD, "FILE")) == 50 and _child(os.getpid()).pid != ours
        os._exit(0 if done else 1)
    assert os.waitpid(forked, 0)[1] == 0
    assert len(read_aedat4(GOOD, "FILE")) == 50 and _child(os.getpid()).pid == ours


@pytest.mark.parametrize("content", [aborting(), GOOD[:300], aedat4(random_events(9, 0), width=320)])
def test_a_broken_aedat4_is_named_or_skipped(content: bytes, tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "aedat4", n=3, n_events=20)
    (tmp_path / "cat" / "cifar10_cat_1.aedat4").write_bytes(content)
    with pytest.raises(DataError, match=r"cat/cifar10_cat_1.aedat4: .*dataset.on_error=skip"):
        cifar10_dvs(str(tmp_path), False, framing())
    train, test = cifar10_dvs(str(tmp_path), False, framing(on_error="skip"))
    assert len(train) + len(test) == 29


def test_without_the_package_the_extra_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cifar10_dvs(tmp_path, "aedat4", n=2, n_events=20)
    monkeypatch.setitem(sys.modules, "aedat", None)
    for on_error in ("raise", "skip"):
        with pytest.raises(ConfigError, match=r"aedat4: .*needs the package aedat.*'rbp-snn\[aedat\]'"):
            cifar10_dvs(str(tmp_path), False, framing(on_error=on_error))
    assert main(["data", "prepare", "cifar10_dvs", f"dataset.root={tmp_path}"]) == 2
    assert "pip install 'rbp-snn[aedat]'" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "prepared").exists()


def test_a_package_that_does_not_load_says_nothing_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aedat.py").write_text("raise ImportError('built for another machine')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    _child.cache_clear()
    with pytest.raises(ConfigError, match=r"^FILE: the package aedat does not run \(exit code 1\)"):
        read_aedat4(GOOD, "FILE")
    monkeypatch.undo()
    assert len(read_aedat4(GOOD, "FILE")) == 50


def test_recordings_of_both_forms_are_refused(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path, "folders", n=2, n_events=5)
    (tmp_path / "cat" / "cifar10_cat_7.aedat4").write_bytes(GOOD)
    with pytest.raises(DataError, match=r"1 of 21 recordings are AEDAT 4.0, such as .*cat_7.aedat4"):
        find(tmp_path, framing())


def test_the_same_recording_gives_the_same_events_in_both_forms(tmp_path: Path) -> None:
    """Both readers count x from the left and y from the top, whatever the file counts from."""
    events = [(1, 0, 0, 1), (2, 127, 0, 0), (3, 0, 127, 1), (4, 5, 9, 0)]
    old, new = read_aedat2(aedat2(events), "OLD"), read_aedat4(aedat4(events, compression=NONE), "NEW")
    assert old.cell.tolist() == new.cell.tolist() == [(p * 128 + y) * 128 + x for _, x, y, p in events]
    assert old.t.tolist() == new.t.tolist()


def test_tonics_folder_is_found(tmp_path: Path) -> None:
    write_cifar10_dvs(tmp_path / "CIFAR10DVS", "aedat4", n=2, n_events=5)
    assert len(find(tmp_path, framing()).train) == 10
