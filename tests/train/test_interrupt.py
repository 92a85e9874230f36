"""Stopped between two steps, anywhere and again and again, a run ends with the bits of one never stopped."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from rbp.errors import Preempted
from rbp.runs.folder import RunFolder
from rbp.train import epoch as epoch_module
from rbp.train import evaluate, train
from rbp.train import run as run_module
from rbp.train.resume.checkpoint import load_checkpoint
from rbp.train.resume.interrupt import Interruption
from tests.support.run_folders import lines, metrics, status_of, without_timings
from tests.support.training import (
    EPOCHS,
    EVALUATIONS,
    EVERYTHING,
    LOOKS,
    SMALL,
    STEPS,
    Scheduled,
    Undisturbed,
    damage,
    same_end,
    short,
)

pytestmark = pytest.mark.slow


def stopped_at(places: list[int], cfg: Any, run: RunFolder) -> None:
    """Train cfg, stopped after so many looks of each start; then to its end."""
    for place in places:
        with pytest.raises(Preempted, match="SIGUSR2: stopped in epoch"):
            train(cfg, run.path, Scheduled(place))
        status = status_of(run)
        assert status["state"] == "preempted" and status["error"] is None and not run.result.exists()
    train(cfg, run.path, Interruption())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", ["m rate", "s bptt", "s rate", "m bptt"])
def test_stopped_at_random_moments_it_ends_as_if_undisturbed(
    tmp_path: Path, undisturbed: Undisturbed, mode: str, seed: int
) -> None:
    step_mode, grad_mode = mode.split()
    overrides = [*EVERYTHING, f"step_mode={step_mode}", f"grad_mode={grad_mode}"]
    moments = random.Random(f"{mode}{seed}")
    cfg, run = short(tmp_path, *overrides)
    stopped_at([moments.randrange(1, 7) for _ in range(4)], cfg, run)
    same_end(undisturbed(*overrides), run)


def test_it_may_be_stopped_at_every_single_step_and_in_every_evaluation(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    """At the first look of the start nothing is done; after each next one step is: the last is in the
    evaluation, which is never finished before the run is left alone."""
    cfg, run = short(tmp_path, *EVERYTHING)
    stopped_at([0, *[1] * STEPS, 2, 3, 4, 0], cfg, run)
    same_end(undisturbed(*EVERYTHING), run)
    told = run.log.read_text()
    for batches in range(1, STEPS + 1):
        assert f"SIGUSR2: stopped in epoch 1, after {batches} batches" in told
    assert told.count("SIGUSR2: stopped in epoch 1, after 5 batches") == 5  # four of them in the evaluation


@pytest.mark.parametrize("mode", ["m rate", "s bptt", "s rate", "m bptt"])
def test_mixed_smoothed_clipped_in_parts_and_stopped_early_it_goes_on_in_mid_epoch(
    tmp_path: Path, undisturbed: Undisturbed, mode: str
) -> None:
    step_mode, grad_mode = mode.split()
    overrides = [*EVERYTHING, f"step_mode={step_mode}", f"grad_mode={grad_mode}", "trainer.mixup=0.4"]
    overrides += ["trainer.accumulate=4", "trainer.clip_grad=0.5", "loss.label_smoothing=0.1"]
    overrides += ["trainer.early_stop=1", "trainer.epochs=20"]
    cfg, run = short(tmp_path, *overrides)
    stopped_at([2, 1, 3, LOOKS], cfg, run)
    same_end(undisturbed(*overrides), run)
    result = json.loads(run.result.read_text())
    assert result["stopped_early"] and result["epochs"] == len(metrics(run)) < 20


@pytest.mark.parametrize(
    "place", [0, 1, STEPS, STEPS + 1, LOOKS - 1, LOOKS, 3 * LOOKS - EVALUATIONS - 1, 3 * LOOKS - 1]
)
def test_it_may_be_stopped_at_the_edges_of_epochs(
    tmp_path: Path, undisturbed: Undisturbed, place: int
) -> None:
    cfg, run = short(tmp_path, *EVERYTHING)
    stopped_at([place], cfg, run)
    same_end(undisturbed(*EVERYTHING), run)


@pytest.mark.slow
def test_adamw_and_a_last_smaller_batch_go_on_in_mid_epoch(tmp_path: Path, undisturbed: Undisturbed) -> None:
    overrides = ["optimizer=adamw", "trainer.epochs=1", "trainer.limit_batches=null"]
    overrides += ["trainer.batch_size=160", "trainer.eval_batch_size=360"]  # 8 full ones, and 157 images
    cfg, run = short(tmp_path, *overrides)
    stopped_at([8], cfg, run)
    one, two = (load_checkpoint(r.checkpoints / "last.pt") for r in (run, undisturbed(*overrides)))
    assert all(torch.equal(one["network"][key], two["network"][key]) for key in one["network"])
    assert metrics(run) == metrics(undisturbed(*overrides)) and metrics(run)[0]["images"] == 1437


def test_a_stop_after_the_last_evaluation_is_too_late(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, *EVERYTHING)
    result = train(cfg, run.path, Scheduled(EPOCHS * LOOKS))
    assert result["epochs"] == EPOCHS and status_of(run)["state"] == "done"


def test_a_damaged_checkpoint_of_mid_epoch_falls_back_to_the_one_before(
    tmp_path: Path, undisturbed: Undisturbed, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg, run = short(tmp_path, *EVERYTHING)
    for place in (LOOKS + 1, 2):  # in the second epoch, after one batch, and two later
        with pytest.raises(Preempted):
            train(cfg, run.path, Scheduled(place))
    assert lines(run) == 1
    damage(run.checkpoints / "last.pt")
    stopped_at([0], cfg, run)
    told = capsys.readouterr().out
    assert (
        "last.pt: damaged" in told and "going on from the checkpoint before it, epoch 1 and 1 batches" in told
    )
    same_end(undisturbed(*EVERYTHING), run)


def test_a_line_of_an_epoch_whose_checkpoint_is_damaged_is_written_anew(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    cfg, run = short(tmp_path, *EVERYTHING)
    with pytest.raises(Preempted):
        train(cfg, run.path, Scheduled(3))
    with pytest.raises(Preempted):  # before the first step of the second epoch
        train(cfg, run.path, Scheduled(LOOKS - 3))
    assert lines(run) == 1
    damage(run.checkpoints / "last.pt")
    stopped_at([1], cfg, run)
    same_end(undisturbed(*EVERYTHING), run)


def test_without_a_wish_a_checkpoint_is_made_every_so_many_minutes(
    tmp_path: Path, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies in mid-epoch goes on from there; the minutes are no part of its identity."""
    cfg, run = short(tmp_path, *EVERYTHING, "trainer.checkpoint_minutes=1e-9")
    real, steps = epoch_module.training_step, itertools.count()

    def dies(*args: Any) -> Any:
        if next(steps) == STEPS + 3:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(epoch_module, "training_step", dies)
        train(cfg, run.path)
    history = load_checkpoint(run.checkpoints / "last.pt")["history"]
    assert (history["epochs"], history["part"]["batches"]) == (1, 3)
    train(cfg, run.path)
    same_end(undisturbed(*EVERYTHING), run)


def test_with_null_there_is_no_checkpoint_in_mid_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, run = short(tmp_path, *SMALL, "trainer.checkpoint_minutes=null")
    monkeypatch.setattr("rbp.train.resume.step_boundary.time.monotonic", itertools.count(0, 10**6).__next__)
    places = []
    monkeypatch.setattr(
        "rbp.train.resume.step_boundary.save_checkpoint",
        lambda folder, state, best: places.append(state["history"]["part"]["batches"]),
    )
    train(cfg, run.path)
    assert places == [0] * EPOCHS


def test_seconds_of_an_epoch_are_those_of_all_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, run = short(tmp_path, *SMALL)
    with pytest.raises(Preempted):
        train(cfg, run.path, Scheduled(2))
    part = load_checkpoint(run.checkpoints / "last.pt")["history"]["part"]
    assert part["batches"] == 2 and part["images"] == 32 and part["seconds"] > 0
    real = run_module.restore

    def an_hour_ago(*args: Any) -> Any:
        history = real(*args)
        history.part.seconds += 3600
        return history

    monkeypatch.setattr(run_module, "restore", an_hour_ago)
    result = train(cfg, run.path)
    first = json.loads(run.metrics.read_text().splitlines()[0])
    assert 3600 < first["seconds"] < 3700 and result["seconds"] > 3600
    assert first["images_per_second"] == pytest.approx(80 / first["seconds"])


def test_a_checkpoint_of_mid_epoch_is_evaluated_as_it_is_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg, run = short(tmp_path, *SMALL)
    with pytest.raises(Preempted):
        train(cfg, run.path, Scheduled(STEPS))
    told = evaluate(cfg, run.path)
    assert told["epochs"] == 0 and told["part"] == {"batches": STEPS}
    assert f"last.pt: saved in mid-epoch, {STEPS} batches after epoch 0" in capsys.readouterr().out
    train(cfg, run.path)
    assert without_timings(metrics(run)[0])["test_acc"] == told["test_acc"]  # all of the epoch was trained
