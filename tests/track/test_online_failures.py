"""Online runs whose service fails, in every way that it can: all steps are kept, the run's end does not wait
for it, and the user is told what to type.
"""

import os
import shlex
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from rbp.files import append_line
from rbp.runs.folder import RunFolder
from rbp.track import start
from rbp.track.segments import missing_steps, segments, steps
from rbp.track.service_log import last_words
from rbp.track.start import KEPT_OFFLINE
from rbp.track.sync import Counts, sync
from tests.support.tracking import begun, finish, follow, line, new_run
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


@pytest.mark.slow
def test_services_that_fail_at_the_start_cost_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Side by side, each run with a failure of its own."""
    runs = {f: new_run(tmp_path / "a sweep", mode="online", seed=n) for n, f in enumerate(AT_THE_START)}
    with service() as server, ExitStack() as ends:
        meet(server.url, monkeypatch)
        server.fails_of = {folder.name[-8:]: {"upsert": failure} for failure, folder in runs.items()}
        processes = {}
        for failure, folder in runs.items():
            monkeypatch.setattr(start, "GRACE", 100.0 if failure in AT_ONCE else 2.0)
            processes[failure] = ends.enter_context(begun(folder, 3, until=lambda: True))
        for failure, folder in runs.items():
            silent = failure == "silence"
            wait_for(lambda: server.asked[failure] if silent else complaints(folder))  # noqa: B023
            finish(folder, 3, "done", None)
        for process in processes.values():
            assert process.stdin is not None
            process.stdin.close()  # so that none waits for the end of another
        ends.close()
        told = capsys.readouterr().out.splitlines()
        assert len(told) == len(runs) and all(line.startswith("tracker=wandb: ") for line in told)
        for failure, folder in runs.items():
            assert processes[failure].returncode == KEPT_OFFLINE
            (line,) = (line for line in told if f"rbp sync {shlex.quote(str(folder))}" in line)
            assert not failure.isdecimal() or f"the words of {failure}" in line
            assert kept(folder) == [7, 14, 21] and not server.steps
        server.fails_of = {}
        assert sync([tmp_path]) == Counts(uploaded=len(runs))
        assert server.steps == {folder.name[-8:]: [7, 14, 21] for folder in runs.values()}


@pytest.mark.slow
def test_a_service_that_is_not_there_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    meet(NOBODY, monkeypatch)
    folder = new_run(tmp_path, mode="online")
    with begun(folder, 2, until=lambda: complaints(folder)):
        finish(folder, 2, "preempted", None)
    assert "connection refused" in capsys.readouterr().out
    assert follow(folder, range(3, 5)) == KEPT_OFFLINE
    assert kept(folder) == [7, 14, 21, 28]
    with service() as server:
        meet(server.url, monkeypatch)
        assert sync([tmp_path]) == Counts(uploaded=1)
        assert list(server.history[folder.name[-8:]].values()) == [7, 14, 21, 28]


@pytest.mark.slow
def test_services_that_refuse_steps_later_cost_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {failure: new_run(tmp_path, mode="online", seed=n) for n, failure in enumerate(LATER)}
    with service() as server, ExitStack() as ends:
        meet(server.url, monkeypatch)
        processes = [ends.enter_context(begun(folder, 2, lambda: True)) for folder in runs.values()]
        wait_for(lambda: len(server.steps) == len(runs))
        server.fails_of = {folder.name[-8:]: {"stream": failure} for failure, folder in runs.items()}
        for folder in runs.values():
            append_line(RunFolder(folder).metrics, line(3))
            finish(folder, 3, "done", None)
        ends.close()
        assert [process.returncode for process in processes] == [KEPT_OFFLINE] * len(runs)
        told = capsys.readouterr().out
        assert all(f"rbp sync {folder}" in told and not missing_steps(folder) for folder in runs.values())
        server.fails_of = {}
        assert sync([tmp_path]) == Counts(uploaded=len(runs))
        for folder in runs.values():
            assert set(server.history[folder.name[-8:]].values()) == {7, 14, 21}


@pytest.mark.slow
def test_services_that_fail_at_the_end_are_not_waited_for_and_cost_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(start, "GRACE", 600.0)
    monkeypatch.setattr(start, "PATIENCE", 0.1)
    runs = {failure: new_run(tmp_path, mode="online", seed=n) for n, failure in enumerate(AT_THE_END)}
    with service() as server, ExitStack() as ends:
        meet(server.url, monkeypatch)
        server.fails_of = {folder.name[-8:]: {"stream": failure} for failure, folder in runs.items()}
        processes = [ends.enter_context(begun(folder, 3, lambda: True)) for folder in runs.values()]
        for failure, folder in runs.items():
            wait_for(lambda: server.asked[failure])  # noqa: B023
            finish(folder, 3, "done", None)
        ends.close()
        told = capsys.readouterr().out
        for folder, process in zip(runs.values(), processes, strict=True):
            assert f"left to itself; what does not arrive: rbp sync {folder}" in told
            wait_for(lambda: kept(folder) == [7, 14, 21])  # noqa: B023
            assert process.poll() is None  # it may yet get through
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        server.fails_of = {}
        for folder in runs.values():
            wait_for(lambda: sync([folder]) == Counts(uploaded=1))  # noqa: B023 once its follower is gone, too
            assert set(server.history[folder.name[-8:]].values()) == {7, 14, 21}


@pytest.mark.slow
def test_a_follower_that_hangs_at_the_end_is_replaced_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_run(tmp_path, mode="online")
    with service() as server:
        meet(server.url, monkeypatch)
        with begun(folder, 1, until=lambda: segments(folder / "wandb")) as process:
            os.kill(follower_of(process.pid), signal.SIGSTOP)
            for epoch in (2, 3):
                append_line(RunFolder(folder).metrics, line(epoch))
            finish(folder, 3, "done", None)
        assert process.returncode == KEPT_OFFLINE and not missing_steps(folder)


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
        monkeypatch.setattr(start, "GRACE", 100.0)
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
        # wandb lets go of a step when it is given the next one.
        with begun(folder, 2, until=lambda: bool(server.steps)) as process:
            os.kill(follower_of(process.pid), signal.SIGKILL)
            append_line(RunFolder(folder).metrics, line(3))
            finish(folder, 3, "done", None)
        assert process.returncode == KEPT_OFFLINE and not missing_steps(folder)


def complaints(folder: Path) -> list[Path]:
    """The logs in which wandb has noted that the service failed."""
    return [log for log in folder.glob("wandb/*run-*/logs/debug-internal.log") if last_words(log)]


def follower_of(pid: int) -> int:
    """The one child process of the tracker's process."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)
