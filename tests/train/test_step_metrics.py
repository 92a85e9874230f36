"""Every `trainer.log_every` batches metrics.jsonl has a step's loss and the norm of its gradients."""

import json
from pathlib import Path

import pytest
import torch

from rbp.errors import Preempted, TrainingError
from rbp.runs.folder import RunFolder
from rbp.runs.metrics import is_of_step, read_epochs
from rbp.runs.status import current_status
from rbp.train import train
from rbp.train.resume.checkpoint import load_checkpoint
from rbp.train.state import set_up
from rbp.train.step.mixup import Target
from rbp.train.step.training_step import training_step
from tests.support.configs import make
from tests.support.networks import MODES
from tests.support.run_folders import metrics
from tests.support.training import EVERYTHING, LOOKS, Scheduled, Undisturbed, flat, same_end, short

EVERY_STEP = (*EVERYTHING, "trainer.log_every=1")  # 3 epochs of 5 steps, and 4 looks in evaluation


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    state = load_checkpoint(run.checkpoints / "last.pt")
    return flat({part: state[part] for part in ("network", "random")})


def test_lines_of_steps_stand_before_their_epochs_and_change_nothing_else(undisturbed: Undisturbed) -> None:
    run, without = undisturbed(*EVERY_STEP), undisturbed(*EVERYTHING)
    lines = metrics(run)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10, 11, 12, 13, 14, 15, 15]
    assert [line["epoch"] for line in lines[:7]] == [0.2, 0.4, 0.6, 0.8, 1.0, 1, 1.2]
    assert [line for line in lines if not is_of_step(line)] == metrics(without)
    for epoch, line in enumerate(metrics(without)):  # batches of 16 images each
        of_steps = [step["step_loss"] for step in lines if is_of_step(step)][5 * epoch : 5 * epoch + 5]
        assert sum(of_steps) / 5 == pytest.approx(line["train_loss"])
    ours, theirs = weights(run), weights(without)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert run.path.name == without.path.name


def test_they_count_from_the_start_of_each_epoch_as_the_terminal_does(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, "trainer.log_every=2")
    train(cfg, run.path)
    assert [line["step"] for line in metrics(run)] == [2, 3, 5, 6, 8, 9]


@pytest.mark.parametrize(("grad_mode", "step_mode"), MODES)
def test_the_norm_is_that_of_the_whole_batchs_gradients_before_clipping(
    grad_mode: str, step_mode: str
) -> None:
    """By the weights: without momentum and weight decay, a step moves them by lr times their gradient."""
    settings = ["trainer.device=cpu", "T=2", f"grad_mode={grad_mode}", f"step_mode={step_mode}"]
    settings += ["optimizer.momentum=0", "optimizer.weight_decay=0", "optimizer.lr=0.5", "neuron=plif"]
    settings += ["arch._target_=tests.support.networks.without_norm", "trainer.precision=bf16"]
    x, y = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), Target(torch.arange(8))
    norms = []
    for more, parts in (("trainer.clip_grad=null", 1), ("trainer.clip_grad=0.01", 2)):
        job = set_up(make(*settings, more))
        before = [p.detach().clone() for p in job.net.parameters()]
        norm = training_step(job, x, y, parts=parts, with_norm=True).grad_norm
        assert norm is not None
        moved = torch.cat([(a - b).flatten() for a, b in zip(before, job.net.parameters(), strict=True)])
        norms.append((norm.item(), moved.norm().item() / 0.5))
    (whole, by_weights), (in_parts, clipped) = norms
    assert whole == pytest.approx(by_weights, rel=1e-3) and clipped == pytest.approx(0.01, rel=1e-2)
    assert in_parts == pytest.approx(whole, rel=0.05) and whole > 0.1  # parts round elsewhere in bfloat16


@pytest.mark.parametrize("places", [[3], [6], [LOOKS + 2, 5]])
def test_a_run_that_is_stopped_has_every_line_once(
    places: list[int], tmp_path: Path, undisturbed: Undisturbed
) -> None:
    """In mid-epoch and in the evaluation, after the line of the epoch's last step."""
    cfg, run = short(tmp_path, *EVERY_STEP)
    for place in places:
        with pytest.raises(Preempted):
            train(cfg, run.path, Scheduled(place))
        done = len(read_epochs(run.metrics))
        assert current_status(run.path).progress["epoch"] == done and is_of_step(metrics(run)[-1])
    train(cfg, run.path)
    same_end(undisturbed(*EVERY_STEP), run)


def test_lines_after_the_last_checkpoint_are_written_anew(tmp_path: Path, undisturbed: Undisturbed) -> None:
    """As a kill leaves them: the checkpoint is of an earlier step, and the last line is cut short."""
    cfg, run = short(tmp_path, *EVERY_STEP)
    with pytest.raises(Preempted):
        train(cfg, run.path, Scheduled(2))
    assert len(metrics(run)) == 2
    with run.metrics.open("a") as stream:
        for step in (3, 4):
            stream.write(json.dumps({"epoch": step / 5, "step": step, "step_loss": 7.0, "grad_norm": 7.0}))
            stream.write("\n" if step == 3 else "")
    train(cfg, run.path)
    same_end(undisturbed(*EVERY_STEP), run)


def test_a_loss_that_explodes_is_null_in_its_line(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, "trainer.log_every=1", "optimizer.lr=1e38")
    with pytest.raises(TrainingError):
        train(cfg, run.path)
    lines = metrics(run)
    assert lines and all(is_of_step(line) for line in lines)
    assert lines[0]["step_loss"] > 0 and lines[0]["grad_norm"] > 0 and lines[-1]["step_loss"] is None
    assert current_status(run.path).progress["epoch"] == 0
