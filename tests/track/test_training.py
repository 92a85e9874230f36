"""Trackers beside real training."""

import json
from pathlib import Path
from typing import Any

import pytest

from rbp.errors import TrainingError
from rbp.files import read_lines
from rbp.track import start
from rbp.train import run as run_module
from rbp.train import train
from rbp.train.resume.checkpoint import load_checkpoint
from tests.support.disk import fill, tiny_disk
from tests.support.run_folders import metrics
from tests.support.tracking import histories, records
from tests.support.training import short
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("one_thread")


def test_wandb_has_what_training_wrote(tmp_path: Path) -> None:
    overrides = ("sweep.name=grid", "trainer.log_every=2", "tracker.checkpoints=true")
    cfg, run = short(tmp_path, "tracker=wandb", *overrides)
    result = train(cfg, run.path)
    (found,) = records(run.path)
    lines = read_lines(run.metrics)
    assert (
        [item["_step"] for item in histories(found)] == [line["step"] for line in lines] == [2, 3, 5, 6, 8, 9]
    )
    for item, line in zip(histories(found), lines, strict=True):
        same = {key: value for key, value in line.items() if isinstance(value, int | float) and key != "step"}
        assert {key: item[key] for key in same} == same
    (artifact,) = [record["artifact"] for record in found if record["type"] == "artifact"]
    (file,) = artifact["manifest"]["contents"]
    assert load_checkpoint(Path(file["local_path"]))["history"]["epochs"] == 3
    merged: dict[str, Any] = {}
    for record in found:
        merged |= record.get("summary", {}).get("update", {})
    for key in ("test_acc", "best_test_acc", "step_seconds", "peak_memory_bytes"):
        assert merged[key] == result[key]


@pytest.mark.slow
def test_a_run_that_fails_is_a_failed_run_in_wandb(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, "tracker=wandb", "optimizer.lr=1e38")
    with pytest.raises(TrainingError):
        train(cfg, run.path)
    (found,) = records(run.path)
    assert [record["exit"]["exit_code"] for record in found if record["type"] == "exit"] == [1]
    text = json.dumps([record["summary"] for record in found if record["type"] == "summary"])
    assert "learning rate 1e+38" in text and '"failed"' in text


@pytest.mark.slow
def test_a_run_that_cannot_begin_is_a_failed_run_in_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise TrainingError("the data are not there")

    monkeypatch.setattr(run_module, "set_up", refuse)
    cfg, run = short(tmp_path, "tracker=wandb")
    with pytest.raises(TrainingError):
        train(cfg, run.path)
    (found,) = records(run.path)
    text = json.dumps([record["summary"] for record in found if record["type"] == "summary"])
    assert "the data are not there" in text and '"failed"' in text


def test_a_tracker_that_hangs_changes_nothing_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, run = short(tmp_path / "without", "tracker=none")
    train(cfg, run.path)
    (tmp_path / "wandb.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(start, "PATIENCE", 0.1)
    started: list[Any] = []
    popen = start.subprocess.Popen

    def noting(*args: Any, **kwargs: Any) -> Any:
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(start.subprocess, "Popen", noting)
    cfg, beside = short(tmp_path / "beside", "tracker=wandb")
    train(cfg, beside.path)
    assert len(started) == 1 and started[0].poll() is None
    started[0].kill()
    started[0].wait()
    assert metrics(beside) == metrics(run)


@pytest.mark.slow
@pytest.mark.parametrize("full", ["from the start", "from the second epoch"])
def test_a_disk_that_is_full_for_the_tracker_changes_nothing_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], full: str
) -> None:
    cfg, run = short(tmp_path / "without", "tracker=none")
    train(cfg, run.path)
    cfg, beside = short(tmp_path / "beside", "tracker=wandb")
    capsys.readouterr()
    with tiny_disk(beside.path / "wandb", "256k") as disk:
        if full == "from the start":
            fill(disk)
        else:
            monkeypatch.setattr(run_module, "_scores", _filling(disk, run_module._scores))
        train(cfg, beside.path)
    assert metrics(beside) == metrics(run)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("tracker=wandb: ")]
    assert len(told) == 1 and "tracker.log" in told[0]


def _filling(disk: Path, real: Any) -> Any:
    """real, but the second call finds the disk full, once the tracker has begun to write to it."""
    calls: list[int] = []

    def wrapped(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            wait_for(lambda: list(disk.glob("*run-*/*.wandb")))
            fill(disk)
        return real(*args)

    return wrapped
