"""The state of a run, told from its folder alone."""

import json
from pathlib import Path

import pytest

from rbp.runs.folder import RunFolder
from rbp.runs.status import Status, current_status
from tests.support.run_folders import write_run


def test_done_if_and_only_if_there_is_a_result(tmp_path: Path) -> None:
    folder = write_run(tmp_path, state="running")
    assert current_status(folder).state == "done" and current_status(folder).progress["epoch"] == 3
    RunFolder(folder).result.write_text("{")
    assert current_status(folder).state == "running"
    folder = write_run(tmp_path, accuracy=None, state="done", seed=1)
    found = current_status(folder)
    assert found.state == "failed" and "result.json is missing or not whole" in (found.error or "")


def test_running_without_a_heartbeat_for_a_minute_is_lost(tmp_path: Path) -> None:
    folder = write_run(tmp_path, accuracy=None, state="running")
    beat = json.loads(RunFolder(folder).status.read_text())["heartbeat"]
    assert current_status(folder, now=beat + 59).state == "running"
    lost = current_status(folder, now=beat + 61)
    assert lost.state == "lost" and "61 s" in (lost.error or "")
    assert current_status(folder, now=beat - 3600).state == "running"  # another machine's clock


@pytest.mark.parametrize("state", ["queued", "failed", "preempted", "cancelled"])
def test_other_states_do_not_age(tmp_path: Path, state: str) -> None:
    folder = write_run(tmp_path, accuracy=None, state=state, error="why", age=1e6)
    found = current_status(folder)
    assert (found.state, found.error, found.host) == (state, "why", "node7")


def test_a_folder_without_a_status_is_queued_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    assert current_status(tmp_path) == Status("queued", progress={"epoch": 0})
    RunFolder(tmp_path).status.write_text('{"state": "odd", "heartbeat": "x"}')
    found = current_status(tmp_path)
    assert found.state == "failed" and "'odd' is none of" in (found.error or "")


def test_the_epoch_is_that_of_the_last_whole_line(tmp_path: Path) -> None:
    folder = write_run(tmp_path, accuracy=None, state="running", curve=(0.1, 0.2, 0.3))
    metrics = RunFolder(folder).metrics
    with metrics.open("a") as stream:
        stream.write('{"epoch": 4, "st')
    assert current_status(folder).progress["epoch"] == 3
    long = json.dumps({"epoch": 7, "firing_rates": {str(n): 0.123456789 for n in range(10_000)}})
    metrics.write_text(f'{{"epoch": 6}}\n{long}\n')
    assert len(long) > 1 << 16 and current_status(folder).progress["epoch"] == 7
