"""Training never waits for a GPU but where LOOK_EVERY says, and sends it nothing but what is drawn.

Seen on torch's `meta` device (tests/support/devices.py): a run's network, images and optimizer are put there
once it is set up. What may wait besides, and is not here: the first steps, which are timed
(rbp.train.telemetry.costs), evaluation and checkpoints, and torchvision's own operations under AutoAugment.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rbp.data import Splits
from rbp.train import epoch
from rbp.train.optimizer import build_optimizer
from rbp.train.resume.history import History
from rbp.train.resume.interrupt import Interruption
from rbp.train.resume.step_boundary import StepBoundary
from rbp.train.state import TrainState, set_up
from rbp.train.step.mixup import Target
from rbp.train.telemetry.record import Record
from tests.support.datasets import in_memory
from tests.support.devices import META, Watch, watched
from tests.support.networks import MODES
from tests.support.training import short

pytestmark = pytest.mark.slow

SETTINGS = ("trainer.batch_size=8", "trainer.kernels=plain")


def on_meta(job: TrainState) -> TrainState:
    """The job with all that a GPU would hold on meta. It keeps the CPU as its device, for autocast."""
    splits = Splits(job.splits.train.to(META), None, job.splits.test.to(META))
    net = job.net.to(META)
    optimizer, schedule = build_optimizer(job.cfg, net)
    for group in optimizer.param_groups:
        group["foreach"] = True  # as on a GPU
    return replace(job, splits=splits, net=net, optimizer=optimizer, schedule=schedule)


def made(tmp_path: Path, *overrides: str) -> TrainState:
    return on_meta(set_up(short(tmp_path, *SETTINGS, *overrides)[0]))


def step(job: TrainState, parts: int = 1) -> None:
    x = torch.zeros(8, *in_memory(job.splits.train).pixels.shape[1:], device=META)
    epoch.training_step(job, x, Target(torch.zeros(8, dtype=torch.int64, device=META)), parts=parts)


@pytest.mark.parametrize(("grad_mode", "step_mode"), MODES)
@pytest.mark.parametrize("neuron", ["lif", "lif_hard", "if", "plif"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_training_step_waits_for_nothing(
    grad_mode: str, step_mode: str, neuron: str, optimizer: str, tmp_path: Path
) -> None:
    modes = (f"grad_mode={grad_mode}", f"step_mode={step_mode}")
    job = made(tmp_path, *modes, f"neuron={neuron}", f"optimizer={optimizer}")
    step(job)  # makes the optimizer's state
    with watched() as watch:
        step(job)
    assert not watch.crossing and not watch.waiting
    # Adam and AdamW count their steps on the host, and read them there.
    assert optimizer != "sgd" or not watch.on_host


def test_parts_and_clipped_gradients_wait_for_nothing_either(tmp_path: Path) -> None:
    job = made(tmp_path, "grad_mode=rate", "trainer.clip_grad=1")
    step(job, parts=4)
    with watched() as watch:
        step(job, parts=4)
    assert not watch.crossing and not watch.waiting


# --- an epoch -----------------------------------------------------------------------------------------------


class Looks:
    """Answers `tolist` of meta tensors, each time somebody waits for numbers; notes at which batch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batch = 0
        self.at: list[int] = []
        own, train = Tensor.tolist, epoch.training_step

        def tolist(tensor: Tensor) -> Any:
            if tensor.device != META:
                return own(tensor)
            self.at.append(self.batch)
            return torch.zeros(tensor.shape, device="cpu").tolist()

        def counted(*args: Any) -> Any:
            self.batch += 1
            return train(*args)

        monkeypatch.setattr(Tensor, "tolist", tolist)
        monkeypatch.setattr(epoch, "training_step", counted)


def one_epoch(job: TrainState, tmp_path: Path) -> Watch:
    run, history = short(tmp_path, *SETTINGS)[1], History()
    run.path.mkdir(parents=True)
    boundary = StepBoundary(job, history, run, Record(run, job.cfg), Interruption())
    with watched() as watch:
        epoch.train_epoch(job, history, boundary, lambda *args: None)
    return watch


def test_an_epoch_looks_as_often_as_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(epoch.LOOK_EVERY, "cpu", 20)
    looks = Looks(monkeypatch)
    watch = one_epoch(made(tmp_path, "grad_mode=rate", "trainer.limit_batches=45"), tmp_path)
    assert looks.at == [20, 20, 40, 40, 45, 45]  # losses, and right answers
    assert not watch.waiting
    assert len(watch.crossing) == ONCE


def test_a_logged_step_is_told_at_the_next_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(epoch.LOOK_EVERY, "cpu", 20)
    looks = Looks(monkeypatch)
    overrides = ("grad_mode=rate", "trainer.limit_batches=45", "trainer.log_every=30")
    watch = one_epoch(made(tmp_path, *overrides), tmp_path)
    assert looks.at == [20, 20, 40, 40, 40, 45, 45]  # losses, right answers, and the norm of step 30
    assert not watch.waiting


ONCE = 3  # sent once an epoch: the order of the images, their mean and their standard deviation
AT_EVERY_BATCH = {
    "dataset.augment.crop=1": 1,
    "dataset.augment.flip=true": 1,
    "dataset.augment.cutout=3": 1,
    "dataset.augment.roll=1": 2,
    "trainer.mixup=1": 1,
}


@pytest.mark.parametrize("augmentation", AT_EVERY_BATCH)
def test_of_a_batch_nothing_is_sent_but_what_is_drawn_for_it(
    augmentation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(epoch.LOOK_EVERY, "cpu", 20)
    Looks(monkeypatch)
    watch = one_epoch(made(tmp_path, "trainer.limit_batches=4", augmentation), tmp_path)
    assert not watch.waiting
    assert watch.crossing == ["aten._to_copy.default"] * (ONCE + 4 * AT_EVERY_BATCH[augmentation])
