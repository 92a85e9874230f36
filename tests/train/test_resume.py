"""A run that was stopped, however, ends with the same bits as one that never was."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from rbp.runs.folder import RunFolder
from rbp.train import run as run_module
from rbp.train import train
from rbp.train.resume.checkpoint import load_checkpoint
from tests.support.run_folders import lines, metrics, without_timings
from tests.support.training import damage, in_a_process, same_end, short
from tests.support.waiting import wait_for

Undisturbed = Callable[..., RunFolder]


@pytest.mark.slow
@pytest.mark.parametrize(("step_mode", "grad_mode", "kills"), [("m", "rate", (1, 3, 5)), ("s", "bptt", (2,))])
def test_killed_again_and_again_it_ends_as_if_undisturbed(
    tmp_path: Path, undisturbed: Undisturbed, step_mode: str, grad_mode: str, kills: tuple[int, ...]
) -> None:
    overrides = ["trainer.epochs=10", "trainer.limit_batches=4"]
    overrides += [f"step_mode={step_mode}", f"grad_mode={grad_mode}", "trainer.threads=1"]
    cfg, killed = short(tmp_path, *overrides)
    last = killed.checkpoints / "last.pt"  # an epoch's line is written before it
    moment = random.Random(f"{step_mode}{grad_mode}")
    for epochs in kills:
        process = in_a_process(cfg, killed)

        def far_enough(n: int = epochs) -> bool:
            return lines(killed) >= n and last.exists()

        wait_for(far_enough, pause=0.005, alive=process.is_alive)
        time.sleep(moment.uniform(0, 0.15))  # anywhere in an epoch, its evaluation or its checkpoint
        process.kill()
        process.join()
        assert not killed.result.exists()
    process = in_a_process(cfg, killed)
    process.join(timeout=120)
    assert process.exitcode == 0
    same_end(undisturbed(*overrides), killed)
    begun = [line for line in killed.log.read_text().splitlines() if "starts with epoch" in line]
    assert len(begun) == 1 + len(kills) and "starts with epoch 1 " not in begun[1]


def interrupted_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make training stop as if by Ctrl-C when it begins the epoch after so many."""
    real, done = run_module.train_epoch, iter(range(100))

    def train_epoch(*args: object) -> object:
        if next(done) == epochs:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module, "train_epoch", train_epoch)


def stop_and_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> RunFolder:
    cfg, run = short(folder, *overrides)
    with monkeypatch.context() as patch:
        interrupted_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, run.path)
    train(cfg, run.path)
    return run


def with_dropout(neuron: Callable[[], nn.Module], in_channels: int, classes: int) -> nn.Module:
    """Draws from torch's global random state, as no network of ours does."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(in_channels * 64, 32), neuron(), nn.Dropout(0.5), nn.Linear(32, classes)
    )


@pytest.mark.parametrize(
    "overrides",
    [
        ["arch._target_=tests.train.test_resume.with_dropout"],
        ["dataset.augment.crop=1", "dataset.augment.flip=true", "dataset.augment.cutout=3"],
        ["optimizer=sgd", "optimizer.schedule=constant", "optimizer.warmup_epochs=2"],
        ["neuron=plif", "dataset.val_split=0.1"],
        ["trainer.mixup=0.4", "trainer.accumulate=4", "trainer.clip_grad=0.5", "loss.label_smoothing=0.1"],
    ],
)
def test_whatever_is_random_or_scheduled_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Undisturbed, overrides: list[str]
) -> None:
    same_end(undisturbed(*overrides), stop_and_go_on(tmp_path, monkeypatch, *overrides))


def test_adamw_goes_on_with_its_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Undisturbed
) -> None:
    runs = stop_and_go_on(tmp_path, monkeypatch, "optimizer=adamw"), undisturbed("optimizer=adamw")
    one, two = (load_checkpoint(run.checkpoints / "last.pt")["optimizer"]["state"] for run in runs)
    assert all(torch.equal(one[i][key], two[i][key]) for i in one for key in one[i]) and "exp_avg" in one[0]
    assert metrics(runs[0]) == metrics(runs[1])


def test_a_run_stopped_between_its_last_checkpoint_and_its_result_only_writes_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, run = short(tmp_path)
    expected = train(cfg, run.path)
    run.result.unlink()
    monkeypatch.setattr(run_module, "train_epoch", None)  # nothing is trained again
    assert without_timings(train(cfg, run.path)) == without_timings(expected)


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    undisturbed: Undisturbed,
) -> None:
    cfg, run = short(tmp_path, "trainer.epochs=4")
    with monkeypatch.context() as patch:
        interrupted_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, run.path)
    damage(run.checkpoints / "last.pt")
    assert lines(run) == 3
    with monkeypatch.context() as patch:
        interrupted_after(0, patch)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, run.path)
    assert lines(run) == 2  # as the checkpoint before it
    told = capsys.readouterr().out
    assert "last.pt: damaged" in told and "going on from the checkpoint before it, epoch 2" in told
    train(cfg, run.path)
    same_end(undisturbed("trainer.epochs=4"), run)


@pytest.mark.parametrize("damaged", [b"", b"{}\n" * 3, b"\xff\xfe\x00", b"no metrics\n[1]\n"])
def test_damaged_metrics_are_told_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damaged: bytes
) -> None:
    cfg, run = short(tmp_path)
    with monkeypatch.context() as patch:
        interrupted_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, run.path)
    second = run.metrics.read_bytes().split(b"\n")[1] + b"\n"
    run.metrics.write_bytes(damaged if damaged == b"" else damaged + b"\n" + second)
    train(cfg, run.path)
    lost = "1, 2" if damaged == b"" else "1"
    told = f"metrics.jsonl: damaged; the lines of these epochs are lost: {lost}\n"
    assert told in capsys.readouterr().out and told in run.log.read_text()
    assert [line["epoch"] for line in metrics(run)] == ([3] if damaged == b"" else [2, 3])


def test_a_change_of_code_on_the_way_is_in_the_result_and_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, run = short(tmp_path)
    old, new = {"version": "0", "hash": "old"}, {"version": "0", "hash": "new"}
    with monkeypatch.context() as patch:
        patch.setattr("rbp.train.state.code_version", lambda cfg: old)
        interrupted_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, run.path)
    monkeypatch.setattr("rbp.train.state.code_version", lambda cfg: new)
    result = train(cfg, run.path)
    assert (result["code"], result["code_before"]) == (new, [old])
    assert run.log.read_text().count("goes on with other code") == 1


def test_a_change_of_machine_on_the_way_is_in_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, run = short(tmp_path)
    with monkeypatch.context() as patch:
        interrupted_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, run.path)
    real = run_module.set_up

    def elsewhere(*args: object) -> object:
        job = real(*args)  # type: ignore[arg-type]
        job.machine = job.machine | {"device": "another"}
        return job

    monkeypatch.setattr(run_module, "set_up", elsewhere)
    result = train(cfg, run.path)
    assert result["machine"]["device"] == "another"
    assert [m["device"] == "another" for m in result["machines_before"]] == [False]
