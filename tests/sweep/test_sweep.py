"""Grids, with training replaced by a stub that writes a result: what runs, in which order, what is told."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

import rbp.train
from rbp.config.identity import folder_name, run_folder
from rbp.errors import CheckpointError, DataError, TrainingError
from rbp.runs.result import RESULT_KEYS, read_result
from rbp.sweep.grid import help_text
from rbp.sweep.launch import main
from rbp.sweep.preflight import checks
from tests.support.configs import as_dict


class Stub:
    """Stands for rbp.train: notes what it is given; `fails` says what to raise for a cell."""

    def __init__(self) -> None:
        self.ran: list[DictConfig] = []
        self.made_with = "a-run"
        self.fails: Callable[[DictConfig], BaseException | None] = lambda cfg: None

    def train(self, cfg: DictConfig, folder: Path, start: dict) -> dict:
        self.ran.append(cfg)
        if error := self.fails(cfg):
            raise error
        folder.mkdir(parents=True)
        rate = cfg.grad_mode.name == "rate"
        result: dict[str, Any] = {
            "test_acc": 0.98,
            "best_test_acc": 0.99,
            "seconds_per_epoch": 1.0 if rate else 2.0,
        }
        result |= {key: 0 for key in RESULT_KEYS if key not in result}
        result |= {"name": folder.name, "config": {}}
        result |= {"images_per_second": 900.0, "peak_memory_bytes": 2**20, "firing_rate": 0.1}
        (folder / "result.json").write_text(json.dumps(result))
        return result

    def evaluate(self, cfg: DictConfig, folder: Path) -> dict:
        self.ran.append(cfg)
        made = {"checkpoint": cfg.checkpoint or f"{folder}/checkpoints/last.pt", "made_with": self.made_with}
        return {"test_acc": 0.5, "val_acc": 0.25, "epochs": 7} | made

    def choices(self) -> list[tuple]:
        return [(cfg.grad_mode.name, cfg.step_mode, cfg.T, cfg.seed) for cfg in self.ran]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, here: Path) -> Stub:
    """Training replaced, data and network taken to be in order, an empty working directory."""
    stub = Stub()
    monkeypatch.setattr(rbp.train, "train", stub.train)
    monkeypatch.setattr(rbp.train, "evaluate", stub.evaluate)
    monkeypatch.setattr(checks, "_check_data", lambda cfg: None)
    monkeypatch.setattr(checks, "check_network", lambda cfg: None)
    return stub


def test_the_quickstart_is_four_cells_in_the_order_written(stub: Stub) -> None:
    assert main(["sweeps=quickstart"]) == 0
    assert stub.choices() == [
        ("bptt", "m", 4, 0),
        ("bptt", "s", 4, 0),
        ("rate", "m", 4, 0),
        ("rate", "s", 4, 0),
    ]
    assert {cfg.dataset.name for cfg in stub.ran} == {"digits"}
    assert len(list(Path("runs/quickstart").glob("digits-*"))) == 4


def test_a_grid_run_again_is_done_and_shows_the_same_table(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["sweeps=quickstart"])
    first = capsys.readouterr().out
    stub.ran.clear()
    assert main(["sweeps=quickstart"]) == 0
    again = capsys.readouterr().out
    assert stub.ran == [] and again.startswith("All 4 cells are done.\n")
    table = again.partition("\n")[2]
    assert first.endswith(table) and "98.00%" in table and "Files: runs/quickstart" in table


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "{", '{"state": 1}', "[]", "[" * 10**5])
def test_a_cell_without_a_whole_result_runs_again(stub: Stub, content: str) -> None:
    main(["-m", "seed=0,1"])
    (folder,) = (run_folder(cfg) for cfg in stub.ran if cfg.seed == 1)
    stub.ran.clear()
    (folder / "result.json").write_text(content)
    for path in folder.iterdir():  # the stub makes its folder anew
        kept = path.read_text()
        path.unlink()
    folder.rmdir()
    assert kept == content
    assert main(["-m", "seed=0,1"]) == 0
    assert [cfg.seed for cfg in stub.ran] == [1]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("test_acc", "abc"),
        ("test_acc", None),
        ("test_acc", math.nan),
        ("seconds", {}),
        ("epochs", True),
        ("firing_rate", []),
        ("config", 3),
        ("name", "another-run"),
    ],
)
def test_a_result_with_a_value_of_another_kind_is_not_taken_for_one(
    stub: Stub, key: str, value: object
) -> None:
    main([])
    (file,) = Path("runs").rglob("result.json")
    result = json.loads(file.read_text())
    assert read_result(file.parent) == result
    file.write_text(json.dumps(result | {key: value}))
    assert read_result(file.parent) is None


@pytest.mark.parametrize(
    ("argument", "ran"),
    [("arch=glob(resnet*)", ["resnet18", "resnet19"]), ("T=glob(1*)", [1, 10, 12, 16])],
)
def test_a_pattern_of_a_group_is_every_option_it_matches(stub: Stub, argument: str, ran: list) -> None:
    assert main(["-m", argument]) == 0
    key = argument.partition("=")[0]
    assert [cfg.T if key == "T" else cfg.arch.name for cfg in stub.ran] == ran


def test_a_grid_from_the_command_line_is_the_product_the_last_key_fastest(stub: Stub) -> None:
    assert main(["-m", "T=2,4", "seed=0,1", "optimizer.lr=0.05"]) == 0
    assert [(c.T, c.seed, c.optimizer.lr) for c in stub.ran] == [
        (2, 0, 0.05),
        (2, 1, 0.05),
        (4, 0, 0.05),
        (4, 1, 0.05),
    ]


@pytest.mark.slow
def test_plain_values_set_on_copies_give_what_composing_each_cell_gives(stub: Stub) -> None:
    swept = {
        "grad_mode": ("bptt", "rate"),
        "T": ("2", "16"),
        "dataset.recipe.lr": ("0.2", "0.3"),
        "trainer.limit_batches": ("1", "null"),
    }
    main(["-m", *(f"{key}={','.join(values)}" for key, values in swept.items())])
    grid, stub.ran = stub.ran, []
    for values in itertools.product(*swept.values()):
        main([*(f"{key}={value}" for key, value in zip(swept, values, strict=True)), "runs_dir=apart"])
    apart = [as_dict(cfg) | {"runs_dir": "runs"} for cfg in stub.ran]
    assert [as_dict(cfg) for cfg in grid] == apart and len(apart) == 16


def test_the_command_line_wins_over_the_sweep_file(stub: Stub) -> None:
    assert main(["sweeps=quickstart", "T=2", "grad_mode=rate", "trainer.epochs=1", "sweep.name=mine"]) == 0
    assert stub.choices() == [("rate", "m", 2, 0), ("rate", "s", 2, 0)]
    assert {(c.trainer.epochs, c.sweep.name) for c in stub.ran} == {(1, "mine")}


def test_every_cell_is_settled_before_the_first_one_runs(stub: Stub) -> None:
    main(["sweeps=quickstart"])
    for cfg in stub.ran:
        assert OmegaConf.is_readonly(cfg) and "${" not in OmegaConf.to_yaml(cfg) and "hydra" not in cfg


def test_all_problems_of_all_cells_are_told_and_nothing_runs(
    stub: Stub, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = "-m T=0,4 arch=vgg11,resnet18 optimizer.lr=-1,0.1 trainer.epochs=0"
    assert main(line.split()) == 2
    lines = capsys.readouterr().err.splitlines()
    assert any("T=0: must be a whole number" in line and "4 of 8 cells" in line for line in lines)
    assert any("optimizer.lr=-1" in line and "2 of 8 cells" in line for line in lines)
    assert any("trainer.epochs=0" in line and "4 of 8 cells" in line for line in lines)
    assert any("arch=vgg11 with dataset=digits" in line or "trainer.epochs" in line for line in lines)
    assert stub.ran == [] and list(tmp_path.iterdir()) == []


def test_missing_data_is_told_before_the_first_cell_runs(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def missing(cfg: DictConfig) -> None:
        if cfg.dataset.name == "cifar10":
            raise DataError("no CIFAR-10 in data")

    monkeypatch.setattr(checks, "_check_data", missing)
    assert main(["-m", "dataset=digits,cifar10", "seed=0,1"]) == 2
    assert capsys.readouterr().err == "error: no CIFAR-10 in data\n"
    assert stub.ran == [] and list(tmp_path.iterdir()) == []


def test_a_batch_larger_than_the_training_set_is_told_before_anything_runs(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks, "check_network", lambda cfg: None)
    assert main(["trainer.batch_size=2000"]) == 2
    assert "trainer.batch_size=2000: must be at most 1437" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [TrainingError("loss is nan"), RuntimeError("a bug")])
def test_a_failing_cell_does_not_hide_the_others(
    stub: Stub, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    stub.fails = lambda cfg: error if cfg.seed == 1 else None
    assert main(["-m", "seed=0,1,2"]) == 1
    told = capsys.readouterr()
    assert [cfg.seed for cfg in stub.ran] == [0, 1, 2]
    lines, _, table = told.out.partition("best acc")
    assert lines.count("test acc 98.00%") == 2 and "seed=1: failed: " in lines and str(error) in lines
    assert table.count("98.00%") == 2 and "failed" in table and str(error) in table
    assert ("Traceback" in told.err) == isinstance(error, RuntimeError)  # a bug shows where it is
    stub.ran.clear()
    stub.fails = lambda cfg: None
    assert main(["-m", "seed=0,1,2"]) == 0 and [cfg.seed for cfg in stub.ran] == [1]


def test_a_batch_larger_than_what_a_held_out_part_leaves_says_so(
    capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    assert main(["trainer.batch_size=1200", "dataset.val_split=0.5"]) == 2
    told = "must be at most 719, the number of training images of dataset=digits that dataset.val_split=0.5"
    assert told in capsys.readouterr().err and list(here.iterdir()) == []


def test_two_cells_that_are_the_same_run_are_refused(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "trainer.device=cpu,auto"]) == 2
    assert "trainer.device=cpu and trainer.device=auto are the same run" in capsys.readouterr().err


def test_an_interrupt_ends_the_grid_with_130(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.fails = lambda cfg: KeyboardInterrupt()
    assert main(["sweeps=quickstart"]) == 130
    assert len(stub.ran) == 1 and capsys.readouterr().err.strip().count("\n") == 0


# --- a single run -------------------------------------------------------------------------------------------


def test_a_single_run_shows_its_result_and_then_is_done(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["T=2", "grad_mode=bptt"]) == 0
    assert "98.00%" in capsys.readouterr().out and len(stub.ran) == 1
    assert main(["T=2", "grad_mode=bptt", "trainer.device=cpu"]) == 0
    out = capsys.readouterr().out
    assert (
        "done already" in out
        and "98.00%" in out
        and "Files: runs/single/digits-" in out
        and len(stub.ran) == 1
    )


def test_evaluation_only_runs_on_a_done_run_too(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert main(["eval_only=true"]) == 0
    assert len(stub.ran) == 2 and "50.00%" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["-m", "seed=0,1"]])
def test_evaluation_tells_which_checkpoint_it_was_and_what_made_it(
    stub: Stub, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert main(["eval_only=true", "checkpoint=some/best.pt", *flags]) == 0
    out = capsys.readouterr().out
    assert "evaluating some/best.pt\n" in out and "runs/" not in out
    assert "Checkpoint: some/best.pt, epoch 7, val acc 25.00%\n" in out
    assert "made with another config, a-run, and evaluated as digits-digits_cnn-T4-m-rate-s0-" in out
    stub.made_with = folder_name(stub.ran[0])
    main(["eval_only=true"])
    assert "another config" not in capsys.readouterr().out


def test_a_failed_evaluation_names_no_log_since_there_is_none(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(cfg: DictConfig, folder: Path) -> dict:
        raise CheckpointError("no checkpoint")

    monkeypatch.setattr(rbp.train, "evaluate", missing)
    assert main(["-m", "eval_only=true", "seed=0,1"]) == 1
    out = capsys.readouterr().out
    assert out.count("no checkpoint") == 2 and "seed=1: failed like seed=0\n" in out
    assert "2 cells failed: no checkpoint (first: seed=0)\n" in out and "rbp logs" not in out


def test_a_bug_in_a_single_run_keeps_its_stack_trace_and_a_failed_training_exits_with_1(stub: Stub) -> None:
    stub.fails = lambda cfg: RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        main([])
    stub.fails = lambda cfg: TrainingError("loss is nan")
    assert main([]) == 1


@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_a_gpu_that_is_not_there_is_refused(
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    device: str,
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert main([f"trainer.device={device}"]) == 2
    assert f"trainer.device={device}: there is no usable GPU here" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert main([f"trainer.device={device}"]) == (0 if device == "cuda" else 2)
    if device == "cuda:7":
        assert "cuda:0, cuda:1" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


# --- sweep files --------------------------------------------------------------------------------------------


def test_values_of_a_sweep_file_arrive_as_written(stub: Stub, sweeps: Path) -> None:
    (sweeps / "odd.yaml").write_text(
        "about: \"it's 'odd', [really]: yes\"\n"
        "fixed: {optimizer: adamw, optimizer.betas: [0.8, 0.9], T: 2}\n"
        "grid:\n  trainer.limit_batches: [null, 1]\n  neuron: [if]\n  optimizer.lr: [1e-3, 2]\n"
    )
    assert main(["sweeps=odd"]) == 0
    assert {c.sweep.about for c in stub.ran} == {"it's 'odd', [really]: yes"}
    assert [(c.trainer.limit_batches, c.neuron.name, c.optimizer.lr) for c in stub.ran] == [
        (None, "if", 1e-3),
        (None, "if", 2),
        (1, "if", 1e-3),
        (1, "if", 2),
    ]
    assert (
        stub.ran[0].optimizer.betas == [0.8, 0.9] and stub.ran[0].sweep.name == "odd" and stub.ran[0].T == 2
    )


def test_bare_numbers_of_a_group_and_lists_are_values_of_a_grid(stub: Stub, sweeps: Path) -> None:
    (sweeps / "ts.yaml").write_text("grid: {T: [2, 10], dataset.mean: [[0.1], [0.2]]}\nname: other\n")
    assert main(["sweeps=ts", "dataset=digits"]) == 0
    assert [(c.T, list(c.dataset.mean)) for c in stub.ran] == [
        (2, [0.1]),
        (2, [0.2]),
        (10, [0.1]),
        (10, [0.2]),
    ]
    assert len(list(Path("runs/other").glob("digits-*"))) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("grid: {T: 4}", "grid.T=4: must be a list"),
        ("grid: {T: []}", "grid.T=[]: must be a list"),
        ("grid: [T]", "grid must hold keys"),
        ("gird: {T: [4]}", "unknown gird; allowed: name, about, like, fixed, grid, pairs, exclude"),
        ("grid: {T: [4", "not valid YAML"),
        ("- a", "must hold keys"),
        ("grid: {T: [7.5]}", "T=7.5: must be a whole number"),
        ("fixed: {trainer.epoch: 1}", "did you mean trainer.epochs?"),
        ("3", "bad.yaml: not valid YAML"),
        (b"about: \xff\xfe", "bad.yaml: not valid YAML"),
        ("null: 1", "bad.yaml: not valid YAML"),
        ("grid: {1: [2]}", "grid.1: must be the name of a key"),
        ("fixed: {2.5: 2}", "fixed.2.5: must be the name of a key"),
        ("pairs: [{1: [2, 3]}]", "must be keys with a list of values"),
        ("name: [a, b]", "name=['a','b']: must be text"),
        ("fixed: {trainer: {epochs: 3}}", "fixed.trainer: must have a value"),
        ("{fixed: {T: 4}, grid: {T: [2, 4]}}", "T: more than once in fixed, grid and pairs"),
    ],
)
def test_a_bad_sweep_file_is_told_by_what_is_wrong_in_it(
    stub: Stub, sweeps: Path, capsys: pytest.CaptureFixture[str], content: str | bytes, message: str
) -> None:
    (sweeps / "bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["sweeps=bad"]) == 2
    assert message in capsys.readouterr().err and stub.ran == []


def test_a_damaged_sweep_file_is_told_in_the_help_and_takes_nothing_from_it(
    stub: Stub, sweeps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sweeps / "bad.yaml").write_text("grid: [")
    (sweeps / "good.yaml").write_text("about: what it is for")
    told = help_text._sweeps()
    assert "bad.yaml: not valid YAML" in told and "what it is for" in told
