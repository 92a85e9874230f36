"""`rbp status|logs|retry|cancel` on folders as runs leave them, without any job."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rbp import cli
from rbp.cli import cancel
from rbp.runs.config import write_config
from rbp.runs.result import RESULT_KEYS
from rbp.runs.status import mark, read_status
from rbp.sweep.grid.compose import compose_grid


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A run that is done, one that failed, one that fell silent."""
    for name, status in {
        "a": {"state": "done"},
        "b": {"state": "failed", "error": "the loss is nan in epoch 3"},
        "c": {"state": "running", "heartbeat": time.time() - 100, "pid": 1, "host": "node7"},
    }.items():
        folder = tmp_path / "runs" / "mine" / name
        folder.mkdir(parents=True)
        (folder / "status.json").write_text(json.dumps(status))
        (folder / "log.txt").write_text(f"what {name} said\n")
    result = dict.fromkeys(RESULT_KEYS, 0) | {"name": "a", "config": {}, "test_acc": 0.9871}
    (tmp_path / "runs" / "mine" / "a" / "result.json").write_text(json.dumps(result))
    return tmp_path / "runs" / "mine"


def test_status_tells_every_run_with_its_reason_and_the_exit_code_that_some_went_wrong(
    sweep: Path, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["status", str(sweep)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["a", "done", "test", "acc", "98.71%"]
    assert "failed" in lines[1] and "the loss is nan in epoch 3" in lines[1]
    assert "lost" in lines[2] and "no sign of life" in lines[2]
    assert lines[3] == f"{sweep}: 3 runs: 1 done, 1 failed, 1 lost"
    assert cli.main(["status", str(sweep / "a")]) == 0


def test_logs_shows_what_a_run_said(sweep: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["logs", str(sweep / "b")]) == 0
    told = capsys.readouterr().out
    assert "failed: the loss is nan" in told and "what b said" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["status", "{runs}/nothing"], "nothing: no such folder"),
        (["cancel", "{runs}"], "it holds mine"),
        (["cancel", "{runs}"], "not the folder of a sweep"),
        (["retry", "{runs}"], "not the folder of a sweep"),
        (["logs", "{runs}/mine"], "is 3 runs (a; b; c); name one run in it"),
        (["retry", "{runs}/mine"], "config.yaml: cannot be read"),
    ],
)
def test_what_is_no_sweep_or_run_says_so(
    sweep: Path, capsys: pytest.CaptureFixture, words: list[str], told: str
) -> None:
    assert cli.main([word.format(runs=sweep.parent) for word in words]) == 2
    assert told in capsys.readouterr().err


def test_nothing_at_work_is_nothing_to_cancel(sweep: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["cancel", str(sweep)]) == 0
    assert "nothing to cancel: 1 done, 1 failed, 1 lost" in capsys.readouterr().out


@pytest.mark.parametrize(
    "damage",
    [
        {"epochs": "7", "epoch": "x", "test_acc": "high", "seconds_left": "soon"},
        {"epochs": [], "epoch": {}, "test_acc": {}, "seconds_left": float("nan")},
        {"epochs": 3, "epoch": None, "test_acc": True, "seconds_left": 10**400},
        {"heartbeat": 10**400, "job_id": 3, "pid": "x", "host": None, "error": 5},
        {"heartbeat": "now", "job_id": ["*"], "state": ["running"]},
    ],
)
def test_a_status_with_values_of_another_kind_hides_no_other_run(
    sweep: Path, capsys: pytest.CaptureFixture, damage: dict
) -> None:
    status = {"state": "running", "heartbeat": time.time()} | damage
    (sweep / "c" / "status.json").write_text(json.dumps(status))
    assert cli.main(["status", str(sweep)]) == 1
    assert "98.71%" in capsys.readouterr().out
    assert cli.main(["logs", str(sweep / "c")]) == 0 and "what c said" in capsys.readouterr().out


@pytest.mark.parametrize("code", ["abc", ["abc"], {"hash": 3}, {"hash": "../x"}, None])
def test_a_result_that_does_not_tell_its_code_is_done(sweep: Path, code: object) -> None:
    file = sweep / "a" / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"code": code}))
    assert cli.main(["status", str(sweep / "a")]) == 0


@pytest.mark.parametrize(
    "record", [b"cells: 3", b"cells: [[1]]", b"cells: {a: 3}\nlauncher: x", b"\xff\xfe", b"[", b"3"]
)
def test_a_damaged_record_of_a_sweep_takes_nothing_from_its_runs(
    sweep: Path, capsys: pytest.CaptureFixture, record: bytes
) -> None:
    (sweep / ".sweep").mkdir()
    (sweep / ".sweep" / "sweep.yaml").write_bytes(record)
    assert cli.main(["status", str(sweep)]) == 1
    assert "3 runs: 1 done, 1 failed, 1 lost" in capsys.readouterr().out
    assert cli.main(["retry", str(sweep / "b")]) == 2  # none of them has a config here
    assert "config.yaml: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "retry", "cancel"])
def test_a_sweep_without_runs_says_so(tmp_path: Path, capsys: pytest.CaptureFixture, command: str) -> None:
    (tmp_path / ".sweep").mkdir()
    (tmp_path / ".sweep" / "sweep.yaml").write_text("name: mine")
    assert cli.main([command, str(tmp_path)]) == 2
    assert "there are no runs in it yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (b"{sweep: {}}", "not the config of a run"),
        (b"\xff\xfe", "cannot be read"),
        (b"{sweep: {name: a}, dataset: 3}", "not the config of a run"),
        (b"{sweep: {name: a}, T: 0}", "not the config of a run"),
        (b"[1, 2]", "not the config of a run"),
        (b"", "not the config of a run"),
    ],
)
def test_a_damaged_config_is_told_by_its_file(
    sweep: Path, capsys: pytest.CaptureFixture, config: bytes, told: str
) -> None:
    (sweep / "b" / "config.yaml").write_bytes(config)
    assert cli.main(["retry", str(sweep / "b")]) == 2
    assert f"b/config.yaml: {told}" in capsys.readouterr().err


def test_a_run_whose_status_is_damaged_is_still_a_run(sweep: Path, capsys: pytest.CaptureFixture) -> None:
    (sweep / "b" / "status.json").write_text("{")
    assert cli.main(["logs", str(sweep / "b")]) == 0
    assert "what b said" in capsys.readouterr().out


def test_the_working_directory_is_a_run_or_a_sweep_like_any_other(
    sweep: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sweep / "a")
    assert cli.main(["status", "."]) == 0
    assert capsys.readouterr().out.split()[:2] == ["a", "done"]
    assert cli.main(["status", ".."]) == 1
    assert "3 runs: 1 done, 1 failed, 1 lost" in capsys.readouterr().out


def test_logs_that_nobody_reads_to_the_end_are_no_error(sweep: Path) -> None:
    (sweep / "b" / "log.txt").write_text("what b said\n" * 100_000)
    script = f"import sys; from rbp.cli import main; sys.exit(main(['logs', {str(sweep / 'b')!r}]))"
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -c {shlex.quote(script)} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("b: failed")


@pytest.mark.parametrize("pid", [-1, 0, 1, "7", None, True])
def test_only_a_process_of_its_own_is_asked_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: object
) -> None:
    monkeypatch.setattr(os, "kill", lambda *args: pytest.fail("signalled"))
    (tmp_path / "status.json").write_text(json.dumps({"state": "running", "pid": pid}))
    cancel._ask_to_end(read_status(tmp_path).pid, set())


@pytest.fixture
def scancel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm in which every job runs, and the list of those cancelled."""
    (tmp_path / "bin").mkdir()
    told = tmp_path / "cancelled"
    for name, line in {"squeue": "echo '5_0|RUNNING|None'", "scancel": f'echo "$@" >>{told}'}.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return told


def test_a_job_that_has_other_runs_too_goes_on_without_the_one_cancelled(
    sweep: Path, scancel: Path, capsys: pytest.CaptureFixture
) -> None:
    for name, state in {"b": "running", "c": "queued"}.items():
        status = {"state": state, "heartbeat": time.time(), "job_id": "5_0", "host": "node7"}
        (sweep / name / "status.json").write_text(json.dumps(status))
    assert cli.main(["cancel", str(sweep / "b")]) == 2
    assert "job 5_0 has c too" in capsys.readouterr().err and not scancel.exists()
    assert cli.main(["cancel", str(sweep / "c")]) == 0 and not scancel.exists()
    assert json.loads((sweep / "c" / "status.json").read_text())["state"] == "cancelled"
    assert cli.main(["cancel", str(sweep)]) == 0 and scancel.read_text() == "5_0\n"


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four runs of a grid over T and seed, one of which has failed; none has a job."""
    monkeypatch.chdir(tmp_path)
    for cell in compose_grid(["T=2,4", "seed=0,1", "sweep.name=mine"]):
        cell.folder.mkdir(parents=True)
        write_config(cell.folder / "config.yaml", cell.values)
        wrong = cell.values["T"] == 4 and cell.values["seed"] == 1
        mark(cell.folder, "failed" if wrong else "cancelled", error="the loss is nan" if wrong else None)
        (cell.folder / "log.txt").write_text(f"the log of {cell.label}\n")
    return Path("runs/mine")


def test_runs_are_shown_and_named_by_the_keys_in_which_they_differ(
    grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", "runs/mine"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[:2]] == [["T=2", f"seed={s}", "cancelled"] for s in (0, 1)]
    assert cli.main(["logs", "runs/mine", "T=4", "seed=1"]) == 0
    told = capsys.readouterr().out
    assert "failed: the loss is nan" in told and "the log of T=4 seed=1" in told
    assert cli.main(["status", "runs/mine", "seed=0"]) == 0
    assert "runs/mine: 2 runs: 2 cancelled" in capsys.readouterr().out
    for asked, count in (("seed=0,1", 4), ("seed=1,7", 2), ("neuron=lif", 4), ("optimizer.lr=0.10", 4)):
        cli.main(["status", "runs/mine", asked])
        assert f"runs/mine: {count} runs:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["logs", "runs/mine", "T=4"], "runs/mine T=4: is 2 runs (T=4 seed=0; T=4 seed=1); name one run"),
        (["retry", "runs/mine", "T=3"], "T=3: fits no run in runs/mine; there T is 2, 4"),
        (
            ["cancel", "runs/mine", "neuron=plif"],
            "neuron=plif: fits no run in runs/mine; there neuron is lif",
        ),
        (["logs", "seed=0"], "name the folder of a sweep or of a run"),
        (
            ["status", "runs/mine", "lrate=1"],
            "lrate=1: no such key of the runs in runs/mine; they differ in T, seed",
        ),
        (["logs", "runs/mine", "seed=0", "seed=1", "T=4"], "is 2 runs (T=4 seed=0; T=4 seed=1)"),
    ],
)
def test_conditions_that_name_no_run_say_what_there_is(
    grid: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert cli.main(words) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("words", [["status"], ["status", "runs"], ["status", "."]])
def test_all_sweeps_are_shown_with_a_line_each(
    grid: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    Path("runs/empty").mkdir()
    if words[-1] == ".":
        monkeypatch.chdir("runs")
    assert cli.main(words) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("mine  4 runs: 1 failed, 3 cancelled")


def test_where_there_is_no_sweep_status_says_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["status"]) == 2
    assert "runs: no sweeps here" in capsys.readouterr().err


def test_states_can_be_read_by_a_program(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--json"]) == 1
    runs = json.loads(capsys.readouterr().out)
    by_state = {run["state"]: run for run in runs}
    assert sorted(run["state"] for run in runs) == ["cancelled"] * 3 + ["failed"]
    assert by_state["failed"]["keys"] == {"T": "4", "seed": "1"}
    assert by_state["failed"]["reason"] == "the loss is nan" and by_state["failed"]["result"] is None
    assert all(Path(run["folder"]).name == run["run"] and run["sweep"] == "mine" for run in runs)


def test_a_log_is_followed_until_the_run_has_ended(
    grid: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = next(path for path in grid.iterdir() if "-T4-" in path.name and "-s1-" in path.name)
    mark(run, "running")

    def write(line: str) -> None:
        with (run / "log.txt").open("a") as stream:
            stream.write(line)

    moments: list[Callable[[], None]] = [
        lambda: write("epoch 1\n"),
        lambda: write("epoch 2\n"),
        lambda: mark(run, "failed", error="killed"),
    ]
    monkeypatch.setattr(time, "sleep", lambda seconds: moments.pop(0)())
    assert cli.main(["logs", "-f", str(run)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith(": running") and told[-1].endswith(": failed: killed")
    assert told[1:-1] == ["the log of T=4 seed=1", "epoch 1", "epoch 2"] and not moments


def test_status_can_stay_until_the_jobs_have_ended(
    grid: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = next(path for path in grid.iterdir() if "-T4-" in path.name and "-s1-" in path.name)
    mark(run, "running")
    monkeypatch.setattr(time, "sleep", lambda seconds: mark(run, "cancelled"))
    assert cli.main(["status", "--watch", "runs/mine", "T=4", "seed=1"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told[:2]] == ["running", "cancelled"]
    assert told[-1] == "runs/mine: 1 run: 1 cancelled"
