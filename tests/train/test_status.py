"""What status.json says of a run to those who watch it: how far it is, the time it takes, whose job it is."""

from pathlib import Path

import pytest

from rbp.errors import FolderBusy, Preempted, TrainingError
from rbp.train import train
from rbp.train.resume.history import History, PartialEpoch
from rbp.train.telemetry import progress, record
from rbp.train.telemetry.progress import Progress, job_id
from tests.support.run_folders import metrics, status_of
from tests.support.training import LOOKS, SMALL, STEPS, Scheduled, short
from tests.support.waiting import wait_for


def test_a_run_says_how_far_it_is_whatever_its_end(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, *SMALL)
    with pytest.raises(Preempted):
        train(cfg, run.path, Scheduled(LOOKS + 2))  # two steps into the second of three epochs
    told = status_of(run)
    assert (told["state"], told["epoch"], told["epochs"]) == ("preempted", 1, 3)
    assert (told["step"], told["steps"]) == (STEPS + 2, 3 * STEPS)
    assert told["progress"] == pytest.approx((STEPS + 2) / (3 * STEPS))
    assert told["test_acc"] == metrics(run)[0]["test_acc"]
    train(cfg, run.path)
    told = status_of(run)
    assert (told["state"], told["epoch"], told["progress"], told["seconds_left"]) == ("done", 3, 1.0, 0.0)
    assert told["test_acc"] == metrics(run)[-1]["test_acc"]


def test_a_failure_keeps_what_was_reached(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, *SMALL, "optimizer.lr=1e38")
    with pytest.raises(TrainingError):
        train(cfg, run.path)
    told = status_of(run)
    assert (told["state"], told["epoch"], told["test_acc"]) == ("failed", 0, None) and told["step"] > 0


def test_the_time_left_goes_by_the_steps_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    told = Progress(epochs=4)
    assert told.as_values()["seconds_left"] is None and told.as_values()["progress"] is None
    told.update(History(epochs=2, part=PartialEpoch(batches=5)), 10)  # a checkpoint, after 25 of 40 steps
    assert told.as_values()["seconds_left"] is None and told.as_values()["progress"] == 25 / 40
    now[0] += 30
    told.update(History(epochs=3, last={"test_acc": 0.5}), 10)  # 5 steps in 30 s
    assert told.as_values() == {
        "epoch": 3, "epochs": 4, "test_acc": 0.5, "step": 30, "steps": 40,
        "progress": 0.75, "seconds_left": 60,
    }  # fmt: skip


def test_the_heartbeat_writes_it_while_the_run_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "HEARTBEAT_SECONDS", 0.01)
    cfg, run = short(tmp_path)
    with record.Record(run, cfg) as held:
        assert status_of(run)["progress"] is None
        held.progress.update(History(epochs=1), 3)
        wait_for(lambda: status_of(run)["step"] == 3, 20)
        assert status_of(run)["state"] == "running"


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "125"}, "125"),
        ({"SLURM_JOB_ID": "125", "SLURM_ARRAY_JOB_ID": "123", "SLURM_ARRAY_TASK_ID": "4"}, "123_4"),
        ({"SLURM_ARRAY_JOB_ID": "123", "SLURM_ARRAY_TASK_ID": "4", "RBP_JOB_ID": "local-7"}, "local-7"),
    ],
)
def test_the_job_is_slurms_or_what_the_launcher_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], told: str | None
) -> None:
    for name in ("RBP_JOB_ID", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    cfg, run = short(tmp_path)
    with record.Record(run, cfg):
        assert status_of(run)["job_id"] == told == job_id()


def test_a_folder_that_another_process_works_in_is_left_as_it_is(tmp_path: Path) -> None:
    cfg, run = short(tmp_path)
    with record.Record(run, cfg):
        files = {file: file.read_bytes() for file in run.path.iterdir() if file != run.status}
        with pytest.raises(FolderBusy, match="another process works in this run folder"):
            train(cfg, run.path)
        assert {file: file.read_bytes() for file in run.path.iterdir() if file != run.status} == files
        assert status_of(run)["state"] == "running" and status_of(run)["error"] is None
