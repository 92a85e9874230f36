"""What a run folder says, with and without somebody to ask about its job."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rbp.provenance import code_version
from rbp.runs.result import RESULT_KEYS
from rbp.sweep.state import jobs
from rbp.sweep.state.jobs import GONE, PENDING, RUNNING, Jobs
from rbp.sweep.state.states import RunState, observe
from tests.support.waiting import wait_for


def folder(path: Path, state: str, heartbeat: float = 0.0, job_id: str | None = None) -> Path:
    """A run folder whose status was written so many seconds ago."""
    path.mkdir()
    status = {"state": state, "heartbeat": time.time() - heartbeat, "job_id": job_id, "error": None}
    (path / "status.json").write_text(json.dumps(status))
    return path


def see(path: Path, compare_code: bool = False) -> RunState:
    (state,) = observe([path], compare_code)
    return state


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A squeue that answers with the lines of a file; without that file it fails."""
    answers = tmp_path / "answers"
    command = tmp_path / "bin" / "squeue"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\nexec cat {answers}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    return answers


@pytest.mark.parametrize(
    ("state", "age", "name", "at_work"),
    [
        ("running", 0, "running", True),
        ("running", 59, "running", True),
        ("running", 61, "lost", False),
        ("failed", 999, "failed", False),
        ("cancelled", 999, "cancelled", False),
        ("preempted", 5, "preempted", False),
        ("queued", 10**6, "lost", False),  # without a job: its submission ended half-way
        ("nonsense", 0, "new", False),
    ],
)
def test_a_folder_alone(tmp_path: Path, state: str, age: float, name: str, at_work: bool) -> None:
    seen = see(folder(tmp_path / "run", state, age))
    assert (seen.name, seen.at_work) == (name, at_work)


def test_a_folder_that_is_not_there_is_new(tmp_path: Path) -> None:
    assert see(tmp_path / "nothing") == RunState("new")


def test_where_nobody_can_be_asked_a_queued_run_is_queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    seen = see(folder(tmp_path / "run", "queued", 10**6, "12_3"))
    assert (seen.name, seen.at_work) == ("queued", True)


@pytest.mark.parametrize(
    ("state", "age", "answer", "name", "at_work", "told"),
    [
        ("queued", 0, "12_3|PENDING|Resources", "queued", True, "Resources"),
        ("queued", 0, "12_4|PENDING|Resources", "lost", False, "no longer in Slurm's queue"),
        ("queued", 0, "12_3|CANCELLED|None", "lost", False, "was cancelled"),
        ("running", 1, "12_3|OUT_OF_MEMORY|None", "lost", False, "out of memory"),
        ("running", 1, "12_3|RUNNING|None", "running", True, ""),
        ("running", 99, "12_3|RUNNING|None", "lost", True, "no sign of life"),
        ("running", 99, "12_3|PENDING|BeginTime", "queued", True, "BeginTime"),  # its node was lost
        ("running", 99, "12_3|NODE_FAIL|None", "queued", True, ""),  # for two seconds, before PENDING
        ("preempted", 9, "12_3|PENDING|BeginTime", "preempted", True, "BeginTime"),
        ("preempted", 9, "12_3|COMPLETED|None", "preempted", False, ""),
    ],
)
def test_slurm_knows_more_than_the_folder(
    tmp_path: Path, slurm: Path, state: str, age: float, answer: str, name: str, at_work: bool, told: str
) -> None:
    slurm.write_text(f"7|RUNNING|None\n{answer}\n")
    seen = see(folder(tmp_path / "run", state, age, "12_3"))
    assert (seen.name, seen.at_work) == (name, at_work) and told in seen.reason


def test_a_controller_that_is_away_says_nothing_of_a_job(tmp_path: Path, slurm: Path) -> None:
    seen = see(folder(tmp_path / "run", "queued", 10**6, "12_3"))
    assert (seen.name, seen.at_work) == ("queued", True)


def test_a_result_makes_a_run_done_whatever_its_status_says_and_stale_with_other_code(tmp_path: Path) -> None:
    path = folder(tmp_path / "run", "running", 99)
    code = code_version({"arch": {"_target_": "rbp.models.vgg.vgg11"}})
    result = dict.fromkeys(RESULT_KEYS, 0) | {"name": "run", "config": {}, "code": code}
    (path / "result.json").write_text(json.dumps(result))
    assert see(path).name == see(path, compare_code=True).name == "done"
    (path / "result.json").write_text(json.dumps(result | {"code": code | {"hash": "abc"}}))
    stale = see(path, compare_code=True)
    assert stale.name == "stale" and stale.is_done and "abc" in stale.reason and code["hash"] in stale.reason
    assert see(path).name == "done"


def test_the_id_of_a_local_job_is_that_of_a_pool_and_of_no_other_process() -> None:
    host = os.uname().nodename
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)", "rbp.sweep.launchers.pool"]
    )
    ids = {
        "pool": f"local-{sleeper.pid}@{host}",
        "other": f"local-{os.getpid()}@{host}",
        "elsewhere": f"local-{sleeper.pid}@another",
    }
    try:
        command = Path(f"/proc/{sleeper.pid}/cmdline")
        wait_for(lambda: b"rbp.sweep.launchers.pool" in command.read_bytes())
        told = Jobs(ids.values())
    finally:
        sleeper.kill()
        sleeper.wait()
    assert [told.state(i) for i in ids.values()] == [RUNNING, GONE, None]
    assert Jobs([ids["pool"]]).state(ids["pool"]) == GONE


def test_one_question_serves_all_jobs(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    run = subprocess.run

    def noting(*args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        return run(*args, **kwargs)

    monkeypatch.setattr(jobs.subprocess, "run", noting)
    slurm.write_text("".join(f"5_{n}|PENDING|Priority\n" for n in range(1000)))
    told = Jobs(f"5_{n}" for n in range(1000))
    assert len(asked) == 1 and all(told.state(f"5_{n}") == PENDING for n in range(1000))
