"""Training on image files: a run that is stopped in mid-epoch, two ranks, and bfloat16."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rbp.errors import CheckpointError
from rbp.train import evaluate, train
from rbp.train.resume.checkpoint import load_checkpoint
from rbp.train.resume.interrupt import Interruption
from tests.support.image_files import write_imagenet
from tests.support.processes import attempt, outcomes
from tests.support.run_folders import metrics
from tests.support.training import Scheduled, same_end, short

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.xdist_group("ranks")]

STEPS = 4  # of an epoch; then come two batches of evaluation
LOOKS = 1 + STEPS + 2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_imagenet(tmp_path_factory.mktemp("imagenet"), train=7, val=5)


def settings(root: Path, *more: str) -> list[str]:
    """28 training images in batches of 8 (the last of 4), 20 test images in batches of 16; with dropout."""
    keys = ["dataset=imagenet", f"dataset.root={root}", "dataset.classes=4", "dataset.size=8"]
    keys += ["dataset.short_side=10", "dataset.workers=2", "trainer.batch_size=8", "trainer.epochs=2"]
    keys += ["trainer.eval_batch_size=16", "trainer.limit_batches=null", "trainer.threads=1"]
    return [*keys, "arch._target_=tests.support.networks.with_dropout", *more]


@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
def test_stopped_in_mid_epoch_it_ends_with_the_same_bits(root: Path, tmp_path: Path, grad_mode: str) -> None:
    """Also when another number of processes decodes."""
    recipe = settings(root, f"grad_mode={grad_mode}")
    whole_cfg, whole = short(tmp_path / "whole", *recipe)
    train(whole_cfg, whole.path)
    cfg, run = short(tmp_path / "stopped", *recipe)
    for place in (2, STEPS, LOOKS - 1):
        assert attempt(train, cfg, run.path, Scheduled(place))[0] == "Preempted"
    train(short(tmp_path / "stopped", *recipe, "dataset.workers=1")[0], run.path)
    assert "stopped in epoch 1, after 2 batches" in run.log.read_text()
    same_end(whole, run)


def test_a_stopped_run_goes_on_with_no_other_images(root: Path, tmp_path: Path) -> None:
    other = write_imagenet(tmp_path / "other", train=7, val=5)
    (other / "train").rename(other / "renamed")
    for file in sorted((other / "renamed").rglob("*.JPEG")):  # as many of each class, by other names
        there = other / "train" / file.parent.name / f"x{file.name}"
        there.parent.mkdir(parents=True, exist_ok=True)
        file.rename(there)
    cfg, run = short(tmp_path, *settings(root))
    assert attempt(train, cfg, run.path, Scheduled(2))[0] == "Preempted"
    with pytest.raises(CheckpointError, match=r"on 28 training, 20 test images \(.*dataset.root=.*other"):
        train(short(tmp_path, *settings(other))[0], run.path)
    assert not run.metrics.exists()
    train(cfg, run.path)  # with its own it does


def trained(rank: int, runs: list[tuple[Any, Path, list[int | None]]]) -> list[Any]:
    """Train each config, stopped after so many looks of each start; what the starts gave."""
    return [
        attempt(train, cfg, folder, Interruption() if place is None else Scheduled(place))
        for cfg, folder, places in runs
        for place in places
    ]


@pytest.mark.slow
def test_two_ranks_train_on_shares_and_go_on_bit_for_bit(root: Path, tmp_path: Path) -> None:
    recipe = settings(root, "trainer.log_every=1")
    cfg, whole = short(tmp_path / "whole", *recipe)
    other, run = short(tmp_path / "stopped", *recipe)
    one, two = outcomes(
        tmp_path, trained, [(cfg, whole.path, [None]), (other, run.path, [2, STEPS + 2, None])]
    )
    assert one[0] == two[0] and one[-1] == two[-1] and one[0]["machine"]["ranks"] == 2
    assert [result[0] for result in one[1:3]] == [result[0] for result in two[1:3]] == ["Preempted"] * 2
    same_end(whole, run)
    assert [line["images"] for line in metrics(whole) if "images" in line] == [28, 56]
    alone = evaluate(cfg, whole.path)
    last = metrics(whole)[-1]
    assert alone["test_acc"] == one[0]["test_acc"] == last["test_acc"]
    assert alone["test_loss"] == pytest.approx(last["test_loss"], rel=1e-6)
    random = load_checkpoint(whole.checkpoints / "last.pt")["random"]
    assert not torch.equal(random["0"]["cpu"], random["1"]["cpu"])


def test_it_trains_in_bfloat16_with_the_papers_protocol(root: Path, tmp_path: Path) -> None:
    recipe = settings(
        root, "trainer=paper", "trainer.precision=bf16", "trainer.epochs=1", "dataset.workers=0"
    )
    cfg, run = short(tmp_path, *recipe)
    result = train(cfg, run.path)
    assert result["machine"]["precision"] == "bf16" and result["headline"] == "best"
    assert 0 < result["train_loss"] < 10
