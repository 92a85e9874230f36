"""A run that ends once its validation accuracy has stopped rising."""

import json
import math
from pathlib import Path

import pytest

from rbp.errors import ConfigError
from rbp.report.read import read_run
from rbp.report.sections import all_runs, unfinished
from rbp.runs.status import current_status
from rbp.train import run as run_module
from rbp.train import train
from rbp.train.early_stop import stops_early
from rbp.train.resume.history import History
from tests.support.configs import make
from tests.support.run_folders import metrics, status_of, without_timings
from tests.support.training import short

# Nothing changes from epoch to epoch: no weight, and there are no batch statistics.
STILL = ["optimizer.lr=1e-30", "arch._target_=tests.support.networks.without_norm", "dataset.val_split=0.1"]
STILL += ["trainer.limit_batches=1"]


@pytest.mark.parametrize("patience", [1, 3])
def test_a_run_that_learns_nothing_stops_after_its_first_epoch_and_the_patience(
    tmp_path: Path, patience: int
) -> None:
    cfg, run = short(tmp_path, *STILL, "trainer.epochs=10", f"trainer.early_stop={patience}")
    result = train(cfg, run.path)
    lines = metrics(run)
    assert result["stopped_early"] is True
    assert result["epochs"] == len(lines) == patience + 1 and result["best_epoch"] == 1
    assert json.loads(run.result.read_text()) == result
    rates = [1e-30 * (1 + math.cos(math.pi * epoch / 10)) / 2 for epoch in range(patience + 1)]
    assert [line["lr"] for line in lines] == pytest.approx(rates)  # the schedule is that of ten epochs
    log = run.log.read_text().splitlines()
    assert f"stops early after epoch {patience + 1}: none since epoch 1 had a better val acc" in log[-1]


def test_such_a_run_is_done_for_everybody(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, *STILL, "trainer.epochs=10", "trainer.early_stop=1")
    train(cfg, run.path)
    status = status_of(run)
    assert (status["state"], status["epoch"], status["epochs"]) == ("done", 2, 2)
    assert (status["progress"], status["step"], status["steps"], status["seconds_left"]) == (1.0, 2, 2, 0.0)
    assert current_status(run.path).state == "done"
    found = read_run(run.path)
    assert unfinished([found]) == []
    assert "2 of 10, stopped early" in all_runs([found])["rows"][0]


def test_killed_before_its_result_it_stops_at_the_same_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, run = short(tmp_path, *STILL, "trainer.epochs=10", "trainer.early_stop=2")
    expected = train(cfg, run.path)
    run.result.unlink()
    monkeypatch.setattr(run_module, "train_epoch", None)  # nothing is trained again
    assert without_timings(train(cfg, run.path)) == without_timings(expected)


def test_a_run_whose_patience_ends_with_its_last_epoch_did_not_stop_early(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, *STILL, "trainer.epochs=3", "trainer.early_stop=2")
    result = train(cfg, run.path)
    assert (result["epochs"], result["stopped_early"]) == (3, False)
    assert "stops early" not in run.log.read_text()


@pytest.mark.parametrize(
    ("accuracies", "ends_after"),
    [
        ([0.5, 0.4, 0.5], 3),  # as good is not better
        ([0.5, 0.4, 0.6, 0.5, 0.5], 5),
        ([0.1, 0.2, 0.3, 0.4, 0.5], None),
        ([0.5, 0.4, 0.6, 0.6, 0.7], None),
    ],
)
def test_the_patience_is_counted_from_the_best_epoch(accuracies: list[float], ends_after: int | None) -> None:
    cfg, history, ends = (
        make("trainer.early_stop=2", "dataset.val_split=0.1", "trainer.epochs=9"),
        History(),
        [],
    )
    for epoch, accuracy in enumerate(accuracies, 1):
        history.epochs = epoch
        if not history.best or accuracy > history.best["val_acc"]:
            history.best = {"epoch": epoch, "val_acc": accuracy}
        ends += [epoch] if stops_early(cfg, history) else []
    assert ends == ([] if ends_after is None else [ends_after])


def test_the_test_images_never_decide_when_a_run_stops() -> None:
    with pytest.raises(ConfigError, match=r"early_stop=5: needs validation images.*dataset.val_split"):
        make("trainer.early_stop=5")
