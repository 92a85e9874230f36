"""wandb's offline files, read back with wandb's own tool, against metrics.jsonl."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rbp.files import append_line
from rbp.runs.folder import RunFolder
from rbp.runs.metrics import read_epochs
from rbp.runs.start import write_start
from rbp.track import TrackerProcess, segments, start
from rbp.track.segments import inspected, steps
from rbp.track.trackers.best_checkpoint import best_checkpoint
from tests.support.tracking import config_of, finish, follow, histories, line, new_run, records, with_steps
from tests.support.waiting import wait_for

V01 = Path(__file__).parents[1] / "fixtures" / "v0.1" / "runs"
KEY = "0123456789abcdef" * 2 + "deadbeef"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def of_type(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record[kind] for record in found if record["type"] == kind]


def summary_of(found: list[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for record in of_type(found, "summary"):
        merged |= record["update"]
    return merged


def test_a_run_is_in_wandb_what_it_is_in_its_folder(tmp_path: Path) -> None:
    folder = new_run(tmp_path / "grid", grad_mode="rate", T=2, seed=3, tracker__tags=["paper"])
    git = {"commit": "c" * 40, "changed": True}
    write_start(folder, {"launcher": {"name": "inline"}, "working_directory": "/somewhere", "git": git})
    assert follow(folder, range(1, 4), lines=with_steps) == 0
    (found,) = records(folder)
    (run,) = of_type(found, "run")
    assert run["run_id"] == folder.name[-8:] and run["display_name"] == folder.name
    assert (run["run_group"], run["job_type"], run.get("resume")) == ("grid", "rate", None)
    assert {"digits", "digits_cnn", "T2", "m", "paper"} <= set(run["tags"])
    config = run["config"]["update"]
    top = {
        "dataset": "digits",
        "arch": "digits_cnn",
        "step_mode": "m",
        "grad_mode": "rate",
        "T": 2,
        "seed": 3,
    }
    assert config.items() >= top.items() and config["config"]["optimizer"]["lr"] == 0.1
    rbps = config["git"]["rbp"].removesuffix("+changes")
    assert config["git"]["started_in"] == "c" * 40 + "+changes" and len(rbps) == 40 and int(rbps, 16)
    assert run["git"] == {"commit": "c" * 40}  # and no address, which may have a name or a password in it
    items = histories(found)
    assert [item["_step"] for item in items] == [4, 7, 11, 14, 18, 21]  # an epoch's last step with its epoch
    assert [item["grad_norm"] for item in items] == [4.0, 7.0] * 3
    assert [item["step_loss"] for item in items[:2]] == [1 / 14, 1 / 17] and items[0]["epoch"] == 4 / 7
    assert "test_acc" not in items[0]
    for item, wanted in zip(items[1::2], read_epochs(RunFolder(folder).metrics), strict=True):
        assert item["_step"] == wanted["step"]
        assert item["seconds_of_training"] == 1.5 * wanted["epoch"]
        for key in ("epoch", "images", "lr", "train_loss", "train_acc", "test_loss", "test_acc", "seconds"):
            assert item[key] == wanted[key]
        assert item["firing_rate/layer1.0.sn"] == 0.1 and item["firing_rate/head"] == 0.9
    with_histogram = [item["epoch"] for item in items if "firing_rates._type" in item]
    assert with_histogram == [1, 2]  # 1, 2, 4, 8, ...
    assert sum(items[1]["firing_rates.values"]) == 3  # a count a layer
    steps_of = {record.get("name", record.get("glob_name")): record for record in of_type(found, "metric")}
    assert steps_of["*"]["step_metric"] == "epoch"
    on_their_own = {"epoch", "images", "seconds_of_training", "step_loss", "grad_norm"}
    assert on_their_own == {name for name, of in steps_of.items() if "step_metric" not in of}
    summary = summary_of(found)
    assert summary["test_acc"] == 0.03 and summary["best_test_acc"] == 0.99 and summary["state"] == "done"
    assert summary["step_seconds"] == 0.2 and summary["peak_memory_bytes"] == 1000
    assert [summary[f"acc_over_t/{t}"] for t in (1, 2, 3)] == [0.5, 0.25, 0.03]
    assert (summary["energy_uj"], summary["ann_energy_uj"], summary["macs"]) == (1.5, 23.0, 0.0)
    assert of_type(found, "exit")[0].get("exit_code", 0) == 0
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.suffix == ".wandb" for file in files)
    assert not [file for file in files if KEY.encode() in file.read_bytes()]


@pytest.mark.slow
def test_a_requeued_run_goes_on_as_the_same_run_with_its_steps_in_order(tmp_path: Path) -> None:
    """Its best checkpoint is an artifact once, also if its folder is followed again, as by `rbp sync`.

    The name of its data set is longer than wandb's tags may be.
    """
    folder = new_run(tmp_path, tracker__checkpoints=True, dataset__name="d" * 70)
    checkpoints = RunFolder(folder).checkpoints
    checkpoints.mkdir()
    (checkpoints / "best.pt").write_bytes(b"weights")
    assert follow(folder, range(1, 3), "preempted") == 0
    assert follow(folder, range(3, 5), lines=with_steps) == 0
    follow(folder, range(5, 5))
    first, second, third = records(folder)
    assert {of_type(found, "run")[0]["run_id"] for found in (first, second)} == {folder.name[-8:]}
    assert "d" * 64 in of_type(first, "run")[0]["tags"]
    items = histories(first) + histories(second)
    assert [item["_step"] for item in items] == [7, 14, 18, 21, 25, 28] and not histories(third)
    values = [item["test_acc"] for item in items if "test_acc" in item]
    assert values == [line["test_acc"] for line in read_epochs(RunFolder(folder).metrics)]
    assert summary_of(first)["state"] == "preempted" and summary_of(second)["state"] == "done"

    (artifact,) = of_type(second, "artifact")
    assert not of_type(first, "artifact") and not of_type(third, "artifact")
    assert (artifact["name"], artifact["type"]) == (f"checkpoint-{folder.name[-8:]}", "model")
    ((file),) = artifact["manifest"]["contents"]
    assert file["path"] == "best.pt" and file["local_path"] == str(checkpoints / "best.pt")  # not a copy
    assert set(artifact["aliases"]) == {"latest", "best"}
    assert json.loads(artifact["metadata"]) == {"epoch": 2, "test_acc": 0.99, "run": folder.name}


def test_the_short_way_to_wandbs_tool_gives_what_the_long_one_gives(tmp_path: Path) -> None:
    """Also where the short way is not known any more; of a file that a kill has cut as well."""
    (file,) = V01.glob("*/*/wandb/*run-*/*.wandb")
    for content in (whole := file.read_bytes(), whole[: len(whole) * 3 // 4]):
        (copy := tmp_path / "run-a.wandb").write_bytes(content)
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(copy)]
        told = subprocess.run(command, capture_output=True, text=True).stdout
        assert inspected(copy) == told and steps(copy)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(segments, "_core", lambda: Path("/bin/echo"))
            assert inspected(copy) == told


def test_the_checkpoint_that_counts_stands_for_the_best_where_no_other_was_kept(tmp_path: Path) -> None:
    config = {"trainer": {"headline": "last"}}
    assert best_checkpoint(config, tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    for name in ("last.pt", "best.pt"):
        (tmp_path / "checkpoints" / name).touch()
        assert best_checkpoint(config, tmp_path) == tmp_path / "checkpoints" / name


@pytest.mark.slow
def test_what_a_kill_took_from_wandb_is_told_again_and_nothing_twice(tmp_path: Path) -> None:
    """wandb holds some of what it was given in memory; here run, follower and wandb are killed at once."""
    folder = new_run(tmp_path)
    tracker = TrackerProcess(config_of(folder), folder)
    tracker.start()
    assert tracker.process is not None
    for epoch in (1, 2):
        append_line(RunFolder(folder).metrics, line(epoch))
    wait_for(lambda: list((folder / "wandb").glob("*run-*/*.wandb")))
    os.killpg(tracker.process.pid, signal.SIGKILL)
    tracker.process.wait()
    append_line(
        RunFolder(folder).metrics, line(2)
    )  # an epoch done again: it was killed before its checkpoint
    assert follow(folder, range(3, 4)) == 0
    found = [step for file in sorted((folder / "wandb").glob("*run-*/*.wandb")) for step in steps(file)]
    assert found == [7, 14, 21]


@pytest.mark.slow
def test_a_failed_run_is_marked_failed_with_its_error_until_it_is_done(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    follow(folder, range(1, 2), "failed", "the loss is nan")
    (found,) = records(folder)
    assert of_type(found, "exit")[0]["exit_code"] == 1
    assert summary_of(found)["error"] == "the loss is nan" and summary_of(found)["state"] == "failed"
    follow(folder, range(2, 3))
    again = records(folder)[1]
    assert summary_of(again)["error"] is None and of_type(again, "exit")[0].get("exit_code", 0) == 0


@pytest.mark.slow
def test_a_killed_run_is_a_failed_run_in_wandb(tmp_path: Path) -> None:
    """Its process says nothing any more, and its folder says that it is running."""
    folder = new_run(tmp_path)
    follow(folder, range(1, 2), "running")
    (found,) = records(folder)
    assert of_type(found, "exit")[0]["exit_code"] == 1
    assert summary_of(found)["state"] == "failed" and summary_of(found)["error"].startswith("killed: ")


def test_a_refusal_is_told_by_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert follow(new_run(tmp_path, tracker__tags=[""]), range(1, 2)) != 0
    assert "Tags must be between 1 and 64 characters" in capsys.readouterr().out


# --- what goes wrong ----------------------------------------------------------------------------------------


def test_a_tracker_that_fails_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = new_run(tmp_path)
    (folder / "wandb").write_text("not a folder")
    code = follow(folder, range(1, 2))
    told = capsys.readouterr().out
    assert code != 0 and told.count("\n") == 1 and told.startswith("tracker=wandb: ")
    assert "tracker.log" in told


def test_a_tracker_that_hangs_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wandb.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(start, "PATIENCE", 1.0)
    folder = new_run(tmp_path / "s")
    tracker = TrackerProcess(config_of(folder), folder)
    with tracker:
        tracker.start()
        finish(folder, 1, "done", None)
    assert tracker.process is not None and tracker.process.poll() is None
    assert "still busy, left to itself" in capsys.readouterr().out
    tracker.process.kill()
    tracker.process.wait()


@pytest.mark.slow
def test_the_signals_of_a_cluster_do_not_end_it_before_the_run(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    tracker = TrackerProcess(config_of(folder), folder)
    with tracker:
        tracker.start()
        assert tracker.process is not None
        wait_for(lambda: list((folder / "wandb").glob("*run-*")))
        for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
            tracker.process.send_signal(number)
        append_line(RunFolder(folder).metrics, line(1))
        finish(folder, 1, "done", None)
    assert tracker.process.returncode == 0
    assert [item["_step"] for item in histories(records(folder)[0])] == [7]


@pytest.mark.parametrize(
    ("tracker", "mode", "outside"),
    [("none", "disabled", ""), ("wandb", "disabled", ""), ("wandb", "online", "disabled")],
)
def test_disabled_starts_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str, mode: str, outside: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", outside)
    folder = new_run(tmp_path, tracker, mode)
    assert follow(folder, range(1, 2)) is None and not (folder / "wandb").exists()


def test_a_process_that_cannot_be_started_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert follow(new_run(tmp_path), range(1, 2)) is None
    assert "cannot be started (Cannot allocate memory); the run goes on" in capsys.readouterr().out
