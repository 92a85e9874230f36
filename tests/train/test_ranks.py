"""A cell that two processes train together: one process's numbers, one folder, one end."""

import json
import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from rbp.errors import ConfigError
from rbp.runs.folder import RunFolder
from rbp.runs.metrics import is_of_step, read_epochs
from rbp.train import epoch as epoch_module
from rbp.train import evaluate, train
from rbp.train import ranks as ranks_module
from rbp.train.device import choose_device
from rbp.train.ranks import Ranks, process_group, ranks_from_environment, refuse_uneven
from rbp.train.resume.checkpoint import load_checkpoint
from rbp.train.resume.interrupt import Interruption
from rbp.train.state import set_up
from rbp.train.step.share import share_of
from rbp.train.step.training_step import n_parts, training_step
from rbp.train.telemetry.record import Record
from tests.support.processes import attempt, outcome, outcomes, started
from tests.support.run_folders import metrics, status_of
from tests.support.training import EVERYTHING, LOOKS, SMALL, STEPS, Scheduled, same_end, short
from tests.support.waiting import wait_for

# In one process: they share an undisturbed run, and a server that makes processes.
pytestmark = pytest.mark.xdist_group("ranks")

NORM = "norm of all gradients before clipping"
MODES = [f"{step_mode} {grad_mode}" for step_mode in "ms" for grad_mode in ("bptt", "rate")]
MODES += ["s sltt", "s ottt"]


# --- numbers ------------------------------------------------------------------------------------------------


def gradients(ranks: Ranks, cfg: DictConfig, images: int) -> dict[str, torch.Tensor]:
    """Of one training step on so many images; in float64, where no rounding makes another spike."""
    torch.set_default_dtype(torch.float64)
    try:
        job, trainer = set_up(cfg, ranks), cfg.trainer
        x = torch.rand(images, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        y = torch.arange(images) % 10
        parts = n_parts(images, trainer.batch_size // (ranks.world * trainer.accumulate), ranks.world)
        mixup = {"alpha": trainer.mixup, "seed": cfg.seed, "epoch": 0, "batch": 0, "parts": parts}
        share = share_of(images, ranks, **mixup)
        needed = slice(None) if share.needed is None else share.needed
        x, target = share.take(x[needed], y[needed])
        weight = len(x) * ranks.world / images
        norm = training_step(job, x, target, weight, parts, with_norm=True).grad_norm
        assert norm is not None
        return {name: p.grad for name, p in job.net.named_parameters() if p.grad is not None} | {NORM: norm}
    finally:
        torch.set_default_dtype(torch.float32)


def gradients_of_all(rank: int, cases: list[tuple[DictConfig, int]]) -> list[dict[str, torch.Tensor]]:
    with process_group(ranks_from_environment(), torch.device("cpu")) as ranks:
        return [gradients(ranks, cfg, images) for cfg, images in cases]


def small(neuron: Callable[[], nn.Module], in_channels: int, classes: int) -> nn.Module:
    body = [nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), neuron(), nn.AvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(72, 16), nn.BatchNorm1d(16), neuron(), nn.Linear(16, classes))


@pytest.mark.slow
def test_gradients_are_those_of_one_process_on_the_whole_batch(tmp_path: Path) -> None:
    """Shares of 8 and 8, and of 8 and 7: the last batch of an epoch."""
    cases = []
    for mode in MODES:
        step_mode, grad_mode = mode.split()
        arch = "arch._target_=tests.train.test_ranks.small"
        settings = [arch, "neuron=plif", f"step_mode={step_mode}", f"grad_mode={grad_mode}"]
        cases += [(short(tmp_path, *settings)[0], images) for images in (16, 15)]
        # In parts, the network's batch normalisation sees the same images of a part on two ranks as on one.
        in_parts = [*settings, "trainer.batch_size=16", "trainer.accumulate=2"]
        cases += [(short(tmp_path, *in_parts)[0], 16)]
    one, two = outcomes(tmp_path, gradients_of_all, cases)
    for case, a, b in zip(cases, one, two, strict=True):
        alone = gradients(Ranks(), *case)
        assert alone.keys() == a.keys() == b.keys() and len(alone) > 10
        for name, expected in alone.items():
            assert torch.equal(a[name], b[name])
            torch.testing.assert_close(a[name], expected, rtol=1e-5, atol=1e-8, msg=name)


@pytest.mark.slow
def test_mixed_clipped_and_in_parts_gradients_are_those_of_one_process_at_once(tmp_path: Path) -> None:
    """Also of the last batch, 15 images and 9: two parts on each rank, some of them smaller."""
    cases, at_once = [], []
    for mode in MODES:
        step_mode, grad_mode = mode.split()
        settings = [f"step_mode={step_mode}", f"grad_mode={grad_mode}", "neuron=plif", "trainer.mixup=0.5"]
        settings += ["arch._target_=tests.support.networks.without_norm", "trainer.batch_size=16"]
        settings += ["loss.label_smoothing=0.1", "trainer.clip_grad=0.01"]
        cfg, _ = short(tmp_path, *settings, "trainer.accumulate=2")
        cases += [(cfg, 16), (cfg, 15), (cfg, 9)]
        at_once += [short(tmp_path, *settings)[0]] * 3
    one, two = outcomes(tmp_path, gradients_of_all, cases)
    for cfg, (_, images), a, b in zip(at_once, cases, one, two, strict=True):
        alone = gradients(Ranks(), cfg, images)
        assert alone.keys() == a.keys() == b.keys() and len(alone) > 6
        clipped = torch.stack([g.norm() for name, g in a.items() if name != NORM])
        assert clipped.norm().item() == pytest.approx(0.01, rel=1e-3) and a[NORM] > 0.02
        for name, expected in alone.items():
            assert torch.equal(a[name], b[name])
            torch.testing.assert_close(a[name], expected, rtol=1e-5, atol=1e-8, msg=name)


def trained(rank: int, cfg: DictConfig, folder: Path, places: list[int | None]) -> list[Any]:
    """Train again and again, this rank stopped after so many looks of each start; what each start gave."""
    return [
        attempt(train, cfg, folder, Interruption() if place is None else Scheduled(place)) for place in places
    ]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, list[dict[str, Any]]]:
    """An undisturbed run of two ranks, with a line for every step, and what they returned."""
    folder = tmp_path_factory.mktemp("together")
    cfg, run = short(folder, *EVERYTHING, "trainer.log_every=1")
    return run, [results[0] for results in outcomes(folder, trained, cfg, run.path, [None])]


def test_both_return_the_result_and_the_first_alone_writes(
    together: tuple[RunFolder, list[dict[str, Any]]],
) -> None:
    run, (one, two) = together
    assert one == two == json.loads(run.result.read_text())
    assert one["machine"]["ranks"] == 2 and one["name"] == run.path.name
    assert one["images_per_second"] == pytest.approx(16 / one["step_seconds"])  # of the whole batch
    epochs = read_epochs(run.metrics)
    assert [(line["epoch"], line["images"]) for line in epochs] == [(1, 80), (2, 160), (3, 240)]
    losses = [line["step_loss"] for line in metrics(run) if is_of_step(line)]  # of both ranks' images
    assert sum(losses[:STEPS]) / STEPS == pytest.approx(epochs[0]["train_loss"])
    assert len(run.log.read_text().splitlines()) == 4


def test_evaluation_in_shares_gives_the_numbers_of_one_process(
    together: tuple[RunFolder, list[dict[str, Any]]],
) -> None:
    run, (result, _) = together
    cfg, _ = short(run.path.parents[1], *EVERYTHING)
    alone = evaluate(cfg, run.path)
    last = metrics(run)[-1]
    assert (alone["test_acc"], alone["val_acc"]) == (result["test_acc"], last["val_acc"])
    assert alone["test_loss"] == pytest.approx(last["test_loss"], rel=1e-6)
    assert alone["test_firing_rates"] == pytest.approx(last["firing_rates"], rel=1e-9)
    for key in ("test_acc_over_t", "operations", "why_null"):
        assert alone[key] == result[key]


@pytest.mark.slow
@pytest.mark.parametrize(("stopped", "places"), [(0, [2, STEPS]), (1, [1, STEPS + 2, LOOKS])])
def test_a_stop_asked_of_either_rank_stops_both_at_one_step_and_they_go_on_bit_for_bit(
    tmp_path: Path, together: tuple[RunFolder, list[dict[str, Any]]], stopped: int, places: list[int]
) -> None:
    """In training, in evaluation, at an epoch's edge; with masks of dropout that differ between ranks."""
    cfg, run = short(tmp_path, *EVERYTHING, "trainer.log_every=1")
    found = outcomes(tmp_path, stop_one, stopped, cfg, run.path, [*places, None])
    for one, two in zip(*found, strict=True):
        assert one == two or {one[0], two[0]} == {"Preempted"}
    assert [results[-1] == found[0][-1] for results in found] == [True, True]
    same_end(together[0], run)
    random = load_checkpoint(run.checkpoints / "last.pt")["random"]
    assert not torch.equal(random["0"]["cpu"], random["1"]["cpu"])


@pytest.mark.slow
@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
def test_mixed_clipped_and_in_parts_two_go_on_bit_for_bit(tmp_path: Path, grad_mode: str) -> None:
    """With batch statistics, which ranks exchange in every part, also in those of a smaller last batch."""
    recipe = [*EVERYTHING, "trainer.mixup=0.4", "trainer.accumulate=2", "trainer.clip_grad=0.5"]
    recipe += ["trainer.batch_size=128", "trainer.limit_batches=null", "trainer.epochs=2"]
    recipe += ["trainer.early_stop=1", f"grad_mode={grad_mode}"]
    runs = []
    for name, places in (("a", [None]), ("b", [3, 7, None])):
        cfg, run = short(tmp_path / name, *recipe)
        one, two = outcomes(tmp_path / name, trained, cfg, run.path, places)
        assert one[-1] == two[-1] and one[-1]["machine"]["ranks"] == 2
        runs.append(run)
    assert metrics(runs[0])[0]["images"] == 1150
    same_end(*runs)


def stop_one(rank: int, stopped: int, cfg: DictConfig, folder: Path, places: list[int | None]) -> list[Any]:
    return trained(rank, cfg, folder, places if rank == stopped else [None] * len(places))


@pytest.mark.slow
def test_three_ranks_go_on_bit_for_bit(tmp_path: Path) -> None:
    """Sums over three depend on their order, and it on how a reduction is laid out."""
    runs = []
    for name, places in (("a", [None]), ("b", [3, 2, None])):
        cfg, run = short(tmp_path / name, *EVERYTHING, "trainer.batch_size=18")
        outcomes(tmp_path / name, trained, cfg, run.path, places, world=3)
        runs.append(run)
    assert "stopped in epoch 1, after 3 batches" in runs[1].log.read_text()
    same_end(*runs)


@pytest.mark.slow
def test_a_run_of_two_goes_on_alone_and_says_so(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, *SMALL)
    outcomes(tmp_path, stop_one, 1, cfg, run.path, [LOOKS + 1])
    result = train(cfg, run.path)
    assert result["machine"]["ranks"] == 1 and [m["ranks"] for m in result["machines_before"]] == [2]
    assert "goes on with other hardware" in run.log.read_text()


# --- how it fails -------------------------------------------------------------------------------------------


def lasting(tmp_path: Path) -> tuple[DictConfig, RunFolder]:
    """A cell that would train for hours."""
    return short(tmp_path, "trainer.epochs=100000")


def plainly(rank: int, cfg: DictConfig, folder: Path) -> Any:
    wait_for_those_who_do_not_hear()
    return train(cfg, folder)


def wait_for_those_who_do_not_hear() -> None:
    """So that a test of a failure ends only if each rank that is alive hears of it at once."""
    ranks_module.LINGER = timedelta(hours=1)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_rank_that_is_killed_fails_the_cell_at_once(tmp_path: Path, killed: int) -> None:
    cfg, run = lasting(tmp_path)
    with started(tmp_path, plainly, cfg, run.path) as processes:
        wait_for((run.checkpoints / "last.pt").exists, alive=processes[0].is_alive)
        processes[killed].kill()
        told = outcome(tmp_path, 1 - killed, processes[1 - killed])
    assert told[0] == "TrainingError" and "one of the 2 ranks is gone" in told[1] and "log" in told[1]
    if killed == 1:
        status = status_of(run)
        assert status["state"] == "failed" and "one of the 2 ranks is gone" in status["error"]
        assert load_checkpoint(run.checkpoints / "last.pt")["history"]["epochs"] >= 1


def failing(rank: int, bad: int, cfg: DictConfig, folder: Path, then: DictConfig, next_folder: Path) -> Any:
    """Train two cells one after the other; in the first, one rank has a bug in its fourth step."""
    wait_for_those_who_do_not_hear()
    real, calls = epoch_module.training_step, []

    def step(*args: Any) -> Any:
        calls.append(1)
        return 1 // 0 if rank == bad and len(calls) == 4 else real(*args)

    epoch_module.training_step = step  # type: ignore[assignment]
    first = attempt(train, cfg, folder)
    epoch_module.training_step = real
    return first, attempt(train, then, next_folder)


@pytest.mark.parametrize("bad", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_rank_that_fails_is_named_to_the_other_and_the_next_cell_is_trained(
    tmp_path: Path, bad: int
) -> None:
    cfg, run = lasting(tmp_path / "a")
    then, next_run = short(tmp_path / "b", *SMALL, "trainer.epochs=1")
    found = outcomes(tmp_path, failing, bad, cfg, run.path, then, next_run.path)
    kind, message = found[1 - bad][0]
    assert kind == "TrainingError" and f"rank {bad} of 2 failed: ZeroDivisionError" in message
    assert found[bad][0][0] == "ZeroDivisionError"
    status = status_of(run)
    assert status["state"] == "failed" and "ZeroDivisionError" in status["error"]
    if bad == 1:  # the first rank's trace is in log.txt
        assert "Traceback" in (tmp_path / "1.err").read_text()
    assert found[0][1] == found[1][1] and found[0][1]["epochs"] == 1


@pytest.mark.slow
def test_processes_that_import_as_they_go_hear_of_a_rank_that_failed_too(tmp_path: Path) -> None:
    """As Slurm's and torchrun's: what the first optimizer imports must not hold the first cell's group."""
    cfg, run = lasting(tmp_path / "a")
    then, next_run = short(tmp_path / "b", *SMALL, "trainer.epochs=1")
    fresh = multiprocessing.get_context("spawn")
    found = outcomes(tmp_path, failing, 1, cfg, run.path, then, next_run.path, context=fresh)
    assert found[0][0][0] == "TrainingError" and found[0][1] == found[1][1] and found[0][1]["epochs"] == 1


@pytest.mark.slow
def test_a_loss_that_is_no_number_is_told_by_all_alike(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, "optimizer.lr=1e38")
    one, two = outcomes(tmp_path, plainly, cfg, run.path)
    assert one == two and one[0] == "TrainingError" and "the loss is nan" in one[1].replace("inf", "nan")


@pytest.mark.slow
def test_a_folder_at_work_is_busy_for_the_first_and_the_other_hears_of_it(tmp_path: Path) -> None:
    cfg, run = short(tmp_path)
    with Record(run, cfg):
        one, two = outcomes(tmp_path, plainly, cfg, run.path)
    assert one[0] == "FolderBusy" and two[0] == "TrainingError" and "rank 0 of 2 failed: FolderBusy" in two[1]


# --- bad input ----------------------------------------------------------------------------------------------


def test_a_batch_that_cannot_be_shared_out_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": 0, "WORLD_SIZE": 3, "MASTER_ADDR": "x", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    cfg, run = short(tmp_path)
    with pytest.raises(ConfigError, match=r"trainer.batch_size=32: .* multiple of its 3 tasks"):
        train(cfg, run.path)
    assert not run.path.exists()
    refuse_uneven(33, Ranks(0, 3))
    with pytest.raises(ConfigError, match=r"multiple of its 3 tasks times trainer.accumulate=2"):
        refuse_uneven(33, Ranks(0, 3), accumulate=2)


def test_a_last_batch_with_fewer_images_than_ranks_is_refused(tmp_path: Path) -> None:
    cfg, _ = short(tmp_path, "trainer.batch_size=5", "trainer.limit_batches=null")  # 1437 = 287 * 5 + 2
    with pytest.raises(ConfigError, match=r"batch_size=5: the last batch of the 1437 .* has 2, fewer than"):
        set_up(cfg, Ranks(0, 5))


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"WORLD_SIZE": "2"}, "not RANK, MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, "RANK=2: must be from 0"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two: WORLD_SIZE must be 1 or more"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE=: WORLD_SIZE must be 1 or more"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "abc"}, "MASTER_PORT=abc: "),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "99999"},
            "MASTER_PORT from 1 to",
        ),
    ],
)
def test_an_environment_that_is_not_whole_is_refused(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], told: str
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=told):
        ranks_from_environment()


def test_every_task_takes_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, _ = short(tmp_path, "trainer.device=cuda:1")
    with pytest.raises(ConfigError, match=r"trainer.device=cuda:1: must be .* for a cell of 2 tasks"):
        choose_device(cfg, Ranks(0, 2, 0))
    cfg, _ = short(tmp_path, "trainer.device=cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [choose_device(cfg, Ranks(r, 4, r % 2)).index for r in range(4)] == [0, 1, 0, 1]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # the launcher shows each task its own
    assert [choose_device(cfg, Ranks(r, 2, r)).index for r in range(2)] == [0, 0]
