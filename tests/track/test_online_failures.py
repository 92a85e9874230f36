"""Online runs whose service fails, in every way that it can: all steps are kept, the run's end does not wait
for it, and the user is told what to type.
"""

import os
import shlex
import signal
from pathlib import Path

import pytest

from rbp.files import append_line
from rbp.runs.folder import RunFolder
from rbp.track import TrackerProcess, start
from rbp.track.segments import missing_steps, segments, steps
from rbp.track.service_log import last_words
from rbp.track.start import KEPT_OFFLINE
from rbp.track.sync import Counts, sync
from tests.support.tracking import config_of, finish, follow, line, new_run
from tests.support.waiting import wait_for
from tests.support.wandb_service import AT_ONCE, meet, service

NOBODY = "http://127.0.0.1:9"  # a port at which nobody listens
# Of every kind of failure some meet each moment; between them, and those of test_sync, all are there.
AT_THE_START = ("401", "409", "503", "silence")
LATER = ("403", "garbage")
AT_THE_END = ("429", "dropped")


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "GRACE", 2.0)
    monkeypatch.setattr(start, "GRACE_PREEMPTED", 2.0)


def kept(folder: Path) -> list[int]:
    """The steps in the run's segments."""
    return [step for file in segments(folder / "wandb") for step in steps(file)]


@pytest.mark.parametrize("failure", AT_THE_START)
def test_a_service_that_fails_at_the_start_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failure: str
) -> None:
    folder = new_run(tmp_path / "a sweep", mode="online")
    with service() as server:
        meet(server.url, monkeypatch)
        server.fails = {"upsert": failure}
        if failure in AT_ONCE:
            monkeypatch.setattr(start, "GRACE", 100.0)
        with TrackerProcess(config_of(folder), folder) as tracker:
            tracker.start()
            for epoch in (1, 2, 3):
                append_line(RunFolder(folder).metrics, line(epoch))
            wait_for(lambda: server.asked[failure] if failure == "silence" else complaints(folder))
            finish(folder, 3, "done", None)
        assert tracker.process is not None and tracker.process.returncode == KEPT_OFFLINE
        (told,) = capsys.readouterr().out.splitlines()
        assert told.startswith("tracker=wandb: ") and f"rbp sync {shlex.quote(str(folder))}" in told
        assert not failure.isdecimal() or f"the words of {failure}" in told
        assert kept(folder) == [7, 14, 21] and not server.steps
        server.fails = {}
        assert sync([tmp_path]) == Counts(uploaded=1)
        assert server.steps == {folder.name[-8:]: [7, 14, 21]}


@pytest.mark.slow
def test_a_service_that_is_not_there_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    meet(NOBODY, monkeypatch)
    folder = new_run(tmp_path, mode="online")
    with TrackerProcess(config_of(folder), folder) as tracker:
        tracker.start()
        for epoch in (1, 2):
            append_line(RunFolder(folder).metrics, line(epoch))
        wait_for(lambda: complaints(folder))
        finish(folder, 2, "preempted", None)
    assert "connection refused" in capsys.readouterr().out
    assert follow(folder, range(3, 5)) == KEPT_OFFLINE
    assert kept(folder) == [7, 14, 21, 28]
    with service() as server:
        meet(server.url, monkeypatch)
        assert sync([tmp_path]) == Counts(uploaded=1)
        assert list(server.history[folder.name[-8:]].values()) == [7, 14, 21, 28]


@pytest.mark.parametrize("failure", LATER)
def test_a_service_that_refuses_steps_later_costs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failure: str
) -> None:
    folder = new_run(tmp_path, mode="online")
    with service() as server:
        meet(server.url, monkeypatch)
        with TrackerProcess(config_of(folder), folder) as tracker:
            tracker.start()
            for epoch in (1, 2):  # wandb lets go of a step when it is given the next one
                append_line(RunFolder(folder).metrics, line(epoch))
            wait_for(lambda: bool(server.steps))
            server.fails = {"stream": failure}
            append_line(RunFolder(folder).metrics, line(3))
            finish(folder, 3, "done", None)
        assert tracker.process is not None and tracker.process.returncode == KEPT_OFFLINE
        assert f"rbp sync {folder}" in capsys.readouterr().out
        assert not missing_steps(folder)
        server.fails = {}
        assert sync([tmp_path]) == Counts(uploaded=1)
        assert set(server.history[folder.name[-8:]].values()) == {7, 14, 21}


@pytest.mark.parametrize("failure", AT_THE_END)
def test_a_service_that_fails_at_the_end_is_not_waited_for_and_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failure: str
) -> None:
    monkeypatch.setattr(start, "GRACE", 600.0)
    monkeypatch.setattr(start, "PATIENCE", 0.1)
    folder = new_run(tmp_path, mode="online")
    with service() as server:
        meet(server.url, monkeypatch)
        server.fails = {"stream": failure}
        with TrackerProcess(config_of(folder), folder) as tracker:
            tracker.start()
            for epoch in (1, 2, 3):
                append_line(RunFolder(folder).metrics, line(epoch))
            wait_for(lambda: server.asked[failure])
            finish(folder, 3, "done", None)
        assert f"left to itself; what does not arrive: rbp sync {folder}" in capsys.readouterr().out
        wait_for(lambda: kept(folder) == [7, 14, 21])
        assert tracker.process is not None and tracker.process.poll() is None  # it may yet get through
        os.killpg(tracker.process.pid, signal.SIGKILL)
        tracker.process.wait()
        server.fails = {}
        wait_for(lambda: sync([tmp_path]) == Counts(uploaded=1))  # once its follower is gone, too
        assert set(server.history[folder.name[-8:]].values()) == {7, 14, 21}


@pytest.mark.slow
def test_a_follower_that_hangs_at_the_end_is_replaced_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_run(tmp_path, mode="online")
    with service() as server:
        meet(server.url, monkeypatch)
        with TrackerProcess(config_of(folder), folder) as tracker:
            tracker.start()
            append_line(RunFolder(folder).metrics, line(1))
            wait_for(lambda: segments(folder / "wandb"))
            assert tracker.process is not None
            os.kill(follower_of(tracker.process.pid), signal.SIGSTOP)
            for epoch in (2, 3):
                append_line(RunFolder(folder).metrics, line(epoch))
            finish(folder, 3, "done", None)
        assert tracker.process.returncode == KEPT_OFFLINE and not missing_steps(folder)


@pytest.mark.slow
def test_a_service_that_comes_back_gets_the_rest_of_the_run_online(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_run(tmp_path, mode="online")
    with service() as server:
        meet(server.url, monkeypatch)
        server.fails = {"upsert": "503"}
        assert follow(folder, range(1, 3), "preempted") == KEPT_OFFLINE
        server.fails = {}
        assert follow(folder, range(3, 4)) == 0
        assert list(server.history[folder.name[-8:]].values()) == [7, 14, 21]
        assert sync([tmp_path]) == Counts(before=1)


@pytest.mark.slow
def test_a_follower_that_is_killed_is_replaced_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_run(tmp_path, mode="online")
    with service() as server:
        meet(server.url, monkeypatch)
        with TrackerProcess(config_of(folder), folder) as tracker:
            tracker.start()
            for epoch in (1, 2):
                append_line(RunFolder(folder).metrics, line(epoch))
            wait_for(lambda: bool(server.steps))
            assert tracker.process is not None
            os.kill(follower_of(tracker.process.pid), signal.SIGKILL)
            append_line(RunFolder(folder).metrics, line(3))
            finish(folder, 3, "done", None)
        assert tracker.process.returncode == KEPT_OFFLINE and not missing_steps(folder)


def complaints(folder: Path) -> list[Path]:
    """The logs in which wandb has noted that the service failed."""
    return [log for log in folder.glob("wandb/*run-*/logs/debug-internal.log") if last_words(log)]


def follower_of(pid: int) -> int:
    """The one child process of the tracker's process."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)
