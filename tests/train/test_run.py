"""A run as a whole: the same bits again, paired cells, what its folder holds, and how it fails."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf

from rbp.config.identity import identity
from rbp.errors import ConfigError, TrainingError
from rbp.files import append_line, write_json
from rbp.runs.config import read_config
from rbp.runs.folder import RunFolder
from rbp.runs.result import read_result
from rbp.train import evaluate, train
from rbp.train import run as run_module
from rbp.train.resume.checkpoint import load_checkpoint
from rbp.train.resume.history import History
from rbp.train.state import TrainState, set_up
from rbp.train.step.mixup import Target
from rbp.train.step.training_step import training_step
from rbp.train.telemetry import record
from tests.support.configs import make
from tests.support.run_folders import metrics, status_of, without_timings
from tests.support.training import Undisturbed, short
from tests.support.waiting import wait_for


def weights(run: RunFolder, name: str = "last.pt") -> dict[str, torch.Tensor]:
    return load_checkpoint(run.checkpoints / name)["network"]


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# --- what is computed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["m rate", "s rate", "m bptt", "s bptt"])
def test_two_runs_of_a_config_give_the_same_bits(tmp_path: Path, undisturbed: Undisturbed, mode: str) -> None:
    step_mode, grad_mode = mode.split()
    overrides = [] if mode == "m rate" else [f"step_mode={step_mode}", f"grad_mode={grad_mode}"]
    other = undisturbed(*overrides)
    torch.rand(3)  # the global random state is no part of a run
    cfg, run = short(tmp_path, *overrides)
    train(cfg, run.path)
    assert equal(weights(run), weights(other)) and metrics(run) == metrics(other)


def test_at_one_time_step_rate_and_bptt_are_one_run_so_cells_are_paired(tmp_path: Path) -> None:
    """Same initial weights, images, order and loss scale: at T=1 nothing else differs."""
    losses = []
    for mode in ("rate", "bptt"):
        cfg, run = short(
            tmp_path, "T=1", f"grad_mode={mode}", "dataset.augment.crop=1", "dataset.augment.flip=true"
        )
        train(cfg, run.path)
        losses.append([line["train_loss"] for line in metrics(run)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def gradients(*overrides: str) -> list[torch.Tensor]:
    job = set_up(make("trainer.device=cpu", *overrides))
    x, y = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    training_step(job, x, Target(y))
    return [p.grad for p in job.net.parameters() if p.grad is not None]


def test_the_loss_has_one_scale_in_both_modes_and_the_published_one_on_request() -> None:
    ours, published = gradients("grad_mode=rate"), gradients("grad_mode=rate", "trainer=paper")
    for a, b in zip(ours, published, strict=True):
        torch.testing.assert_close(a, 4 * b)  # T is 4
    for a, b in zip(gradients("grad_mode=bptt"), gradients("grad_mode=bptt", "trainer=paper"), strict=True):
        assert torch.equal(a, b)


def test_the_loss_is_the_cross_entropy_of_the_time_mean_of_the_output() -> None:
    job = set_up(make("trainer.device=cpu", "grad_mode=bptt", "step_mode=s", "T=3"))
    x, y = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    job.net.train()
    steps = []
    with torch.no_grad():
        for _ in range(3):  # the neurons keep their membrane potential from step to step
            steps.append(job.net(x))
    for module in job.net.modules():
        if callable(reset := getattr(module, "reset", None)):
            reset()
    loss, correct, _ = training_step(job, x, Target(y))
    mean = torch.stack(steps).mean(0)
    torch.testing.assert_close(loss, F.cross_entropy(mean, y), rtol=1e-4, atol=1e-5)
    assert correct == (mean.argmax(1) == y).sum()


def test_a_held_out_part_chooses_the_best_epoch(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, "dataset.val_split=0.2", "trainer.epochs=5", "trainer.keep=best")
    result = train(cfg, run.path)
    lines = metrics(run)
    best = max(lines, key=lambda line: line["val_acc"])  # the first of equals
    assert (result["best_epoch"], result["best_test_acc"]) == (best["epoch"], best["test_acc"])
    assert result["best_by"] == "val_acc" and result["test_acc"] == lines[-1]["test_acc"]
    assert load_checkpoint(run.checkpoints / "best.pt")["history"]["epochs"] == best["epoch"]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (["trainer.keep=all"], ["best.pt", "last.pt", "previous.pt"]),
        (["trainer.keep=best"], ["best.pt"]),
        (["trainer.keep=last", "trainer.headline=best"], ["last.pt"]),
        (["trainer.headline=best"], ["best.pt"]),
    ],
)
def test_a_run_that_is_done_keeps_the_checkpoints_that_are_asked_for(
    tmp_path: Path, settings: list[str], kept: list[str]
) -> None:
    cfg, run = short(tmp_path, "trainer.epochs=2", *settings)
    result = train(cfg, run.path)
    assert sorted(p.name for p in run.checkpoints.iterdir()) == kept
    only, _ = short(tmp_path, "trainer.epochs=2", "eval_only=true", *settings)
    wanted = result["best_test_acc"] if kept == ["best.pt"] else result["test_acc"]
    assert evaluate(only, run.path)["test_acc"] == wanted


def test_mixed_precision_keeps_float32_weights_and_stays_near_float32(tmp_path: Path) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        cfg, run = short(tmp_path, f"trainer.precision={precision}", "trainer.epochs=1")
        assert train(cfg, run.path)["machine"]["precision"] == precision
        assert all(w.dtype == torch.float32 for w in weights(run).values() if w.is_floating_point())
        losses[precision] = metrics(run)[0]["train_loss"]
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)


def test_top_5_is_told_where_there_are_more_than_ten_classes() -> None:
    from rbp.data import Images
    from rbp.train.evaluate import score

    job = set_up(make("trainer.device=cpu"))
    labels = torch.arange(40) % 20
    ranked = torch.randn(40, 20, generator=torch.Generator().manual_seed(1))
    merged = OmegaConf.merge(job.cfg, {"dataset": {"classes": 20}})
    assert isinstance(merged, DictConfig)
    job.cfg = merged
    job.outputs = lambda x: (ranked[: len(x)], None)  # type: ignore[method-assign]
    told = score(job, Images(torch.zeros(40, 1, 8, 8, dtype=torch.uint8), labels))
    order = ranked.argsort(1, descending=True)
    assert told["top5"] == sum(int(y) in row[:5].tolist() for y, row in zip(labels, order, strict=True)) / 40
    assert told["acc"] == sum(int(y) == row[0].item() for y, row in zip(labels, order, strict=True)) / 40


# --- what the folder holds ----------------------------------------------------------------------------------


def test_the_folder_holds_what_the_contract_says(tmp_path: Path) -> None:
    cfg, run = short(tmp_path)
    result = train(cfg, run.path)
    assert json.loads(run.result.read_text()) == result == read_result(run.path)
    assert read_config(run.config) == cfg
    status = status_of(run)
    assert status["state"] == "done" and status["error"] is None and status["started"] <= status["ended"]
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [(line["epoch"], line["step"], line["images"]) for line in lines] == [
        (1, 3, 96),
        (2, 6, 192),
        (3, 9, 288),
    ]
    # cosine from lr to 0 over the epochs
    assert [line["lr"] for line in lines] == pytest.approx(
        [0.1 * (1 + math.cos(math.pi * e / 3)) / 2 for e in range(3)]
    )
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["last.pt"]
    assert len(run.log.read_text().splitlines()) == 4
    assert not list(run.path.rglob("*.tmp"))


def test_the_result_has_the_keys_of_the_contract(undisturbed: Undisturbed) -> None:
    run = undisturbed()
    result = json.loads(run.result.read_text())
    saved = OmegaConf.load(run.config)
    assert isinstance(saved, DictConfig)
    assert result["name"] == run.path.name and result["name"].endswith(identity(saved))
    assert result["config"] == {"dataset": "digits", "arch": "digits_cnn", "neuron": "lif"} | {
        "step_mode": "m", "grad_mode": "rate", "T": 2, "seed": 0
    }  # fmt: skip
    assert (
        result["params"] == 9 * 32 + 64 + 9 * 32 * 64 + 128 + 9 * 64 * 128 + 256 + 1290
        and result["epochs"] == 3
    )
    last = metrics(run)[-1]
    assert (result["train_loss"], result["test_acc"]) == (last["train_loss"], last["test_acc"])
    assert result["best_test_acc"] == max(line["test_acc"] for line in metrics(run))
    assert result["headline_acc"] == result["test_acc"]
    assert result["images_per_second"] == pytest.approx(32 / result["step_seconds"])
    assert 0 < result["firing_rate"] < 1 and set(result["firing_rates"]) == {"2", "5", "9"}
    assert result["machine"]["torch"] == torch.__version__ and result["machine"]["spikingjelly"][0].isdigit()
    assert len(result["code"]["hash"]) == 12


def test_the_best_epoch_is_the_headline_of_the_published_protocol(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, "trainer=paper", "trainer.epochs=4")
    result = train(cfg, run.path)
    assert result["headline"] == "best" and result["headline_acc"] == result["best_test_acc"]


# --- how it fails -------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run_with_epoch_step_and_learning_rate(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, "optimizer.lr=1e38")
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) in epoch 1, step [23] of 3.*1e\+38"):
        train(cfg, run.path)
    status = status_of(run)
    assert status["state"] == "failed" and "epoch 1, step" in status["error"]
    assert read_result(run.path) is None and "the loss is" in run.log.read_text()


@pytest.mark.parametrize(("part", "value"), [("0.weight", math.nan), ("1.running_var", math.inf)])
def test_a_network_that_fell_silent_since_it_holds_no_numbers_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, value: float
) -> None:
    """Neurons do not fire on NaN: every loss is finite."""
    cfg, run = short(tmp_path)
    real = run_module.train_epoch

    def train_epoch(job: TrainState, history: History, *args: Any) -> None:
        real(job, history, *args)
        if history.epochs == 1:
            job.net.state_dict()[part].fill_(value)

    monkeypatch.setattr(run_module, "train_epoch", train_epoch)
    with pytest.raises(
        TrainingError, match=rf"not finite after epoch 2, at learning rate 0.075: {part}: try"
    ):
        train(cfg, run.path)
    assert status_of(run)["state"] == "failed" and len(metrics(run)) == 1
    assert load_checkpoint(run.checkpoints / "last.pt")["history"]["epochs"] == 1


def test_a_test_loss_that_is_no_number_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: dict[str, Any] = {
        "loss": math.nan,
        "acc": 0.1,
        "acc_over_t": None,
        "firing_rate": 0.0,
        "firing_rates": {},
    }
    broken |= {"operations": None, "why_null": {}}
    monkeypatch.setattr("rbp.train.run.score", lambda *args, **kwargs: broken)
    cfg, run = short(tmp_path)
    with pytest.raises(TrainingError, match=r"after epoch 1, at learning rate 0.1: test_loss is nan"):
        train(cfg, run.path)


def test_what_is_no_number_is_never_written_as_json(tmp_path: Path) -> None:
    for write, file in ((write_json, tmp_path / "x.json"), (append_line, tmp_path / "x.jsonl")):
        write(file, {"a": 1})
        with pytest.raises(ValueError):
            write(file, {"a": math.nan})
        assert json.loads(file.read_text()) == {"a": 1}


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("X: can't allocate memory: you")]
)
def test_memory_that_runs_out_names_what_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr("rbp.train.epoch.training_step", fail)
    cfg, run = short(tmp_path, "grad_mode=bptt")
    with pytest.raises(TrainingError, match=r"memory.*batch_size \(now 32\).* T \(now 2\).*grad_mode=rate"):
        train(cfg, run.path)


@pytest.mark.parametrize("place", ["rbp.train.run.load_latest", "rbp.train.telemetry.record.write_json"])
def test_a_disk_that_fails_anywhere_fails_the_run_by_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    cfg, run = short(tmp_path)
    real = record.write_json

    def full(file: Path, *args: Any) -> None:
        if file == run.status:
            return real(file, *args)
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(place, full)
    with pytest.raises(TrainingError, match=r"/(checkpoints|result.json): cannot be .*: No space left"):
        train(cfg, run.path)
    assert status_of(run)["state"] == "failed"


def test_a_bug_is_kept_with_its_stack_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, run = short(tmp_path)
    monkeypatch.setattr("rbp.train.resume.step_boundary.save_checkpoint", lambda *args: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        train(cfg, run.path)
    assert status_of(run)["error"].startswith("ZeroDivisionError")
    assert "Traceback" in run.log.read_text()


def test_an_interrupt_leaves_the_run_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    cfg, run = short(tmp_path)
    monkeypatch.setattr("rbp.train.run.train_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, run.path)
    assert status_of(run)["state"] == "cancelled"


def test_a_folder_below_a_file_is_refused_by_key_and_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cfg, run = short(tmp_path / "file")
    with pytest.raises(ConfigError, match=r"runs_dir=.*/file.* cannot be written"):
        train(cfg, run.path)


def test_two_processes_never_work_in_one_folder(tmp_path: Path) -> None:
    cfg, run = short(tmp_path)
    with record.Record(run, cfg):
        with pytest.raises(ConfigError, match=r"another process works in this run folder \(pid \d+ on"):
            train(cfg, run.path)
        assert status_of(run)["state"] == "running"  # the holder's word stands
    train(cfg, run.path)


def test_the_heart_beats_while_a_run_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "HEARTBEAT_SECONDS", 0.02)
    cfg, run = short(tmp_path)
    with record.Record(run, cfg):
        first = status_of(run)["heartbeat"]
        wait_for(lambda: status_of(run)["heartbeat"] != first, 20)
    assert record.HEARTBEAT_SECONDS == 0.02 and status_of(run)["state"] == "done"


def test_the_contract_asks_for_a_heartbeat_every_ten_seconds() -> None:
    assert record.HEARTBEAT_SECONDS <= 10


# --- evaluation ---------------------------------------------------------------------------------------------


def test_evaluation_gives_the_accuracy_of_the_checkpoint_and_writes_nothing(tmp_path: Path) -> None:
    cfg, run = short(tmp_path, "trainer.epochs=4", "trainer.keep=all")
    result = train(cfg, run.path)
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}
    only, _ = short(tmp_path, "trainer.epochs=4", "eval_only=true")
    assert evaluate(only, run.path)["test_acc"] == result["test_acc"]
    best, _ = short(tmp_path, "eval_only=true", f"checkpoint={run.checkpoints / 'best.pt'}")
    assert evaluate(best, tmp_path / "nowhere")["test_acc"] == result["best_test_acc"]
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*")} == before
    assert not (tmp_path / "nowhere").exists()


def test_a_checkpoint_may_be_evaluated_with_another_number_of_time_steps(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    run = undisturbed()
    longer, _ = short(tmp_path, "T=8", "eval_only=true", f"checkpoint={run.checkpoints / 'last.pt'}")
    told = evaluate(longer, run.path)
    assert 0 <= told["test_acc"] <= 1 and without_timings(told)["epochs"] == 3
