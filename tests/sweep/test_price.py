"""--dry-run prices a sweep by the steps that were last measured, worked out by hand."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rbp.sweep.grid.cell import Cell
from rbp.sweep.launch import main
from rbp.sweep.state.price import Price, price
from tests.support.configs import as_dict, config
from tests.support.run_folders import results, write_run

GPU = {"device": "NVIDIA H200", "device_type": "cuda", "ranks": 4}
OF_SET: dict[str, Any] = {"train_images": 1437}


def cell(**changes: Any) -> Cell:
    return Cell(as_dict(config(trainer__epochs=10, trainer__batch_size=64, **changes)))


def measured(folder: Path, seconds: float, age: float = 0.0, **changes: Any) -> None:
    more = OF_SET | changes.pop("more", {})
    changes = {"trainer__batch_size": 64, "trainer__epochs": 1} | changes
    run = write_run(folder, seconds=seconds, more=more, **changes)
    os.utime(run / "result.json", (1e9 - age, 1e9 - age))


@pytest.mark.parametrize(
    "damage",
    [
        {"machine": GPU | {"ranks": "x"}},
        {"machine": GPU | {"device": [1, 2]}},
        {"step_seconds": -5},
        {"step_seconds": 0},
        {"train_images": -7},
        {"train_images": 0},
        {"config": {"arch": ["x"]}},
    ],
)
def test_a_damaged_result_prices_nothing(damage: dict[str, Any], tmp_path: Path) -> None:
    measured(tmp_path / "a", 2.0)
    (file,) = tmp_path.rglob("result.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | damage))
    assert price([cell()], tmp_path).lines() == []


def test_cells_cost_their_steps_times_the_last_measured_step(tmp_path: Path) -> None:
    measured(tmp_path / "a", 2.0, age=100, grad_mode="rate", T=4)
    measured(tmp_path / "b", 1.5, grad_mode="rate", T=4, seed=3)  # later, of another seed
    measured(tmp_path / "b", 3.0, grad_mode="bptt", T=4, trainer__limit_batches=2)  # the step is the same
    cells = [cell(grad_mode=mode, T=4, seed=seed) for mode in ("rate", "bptt") for seed in (0, 1)]
    found = price(cells, tmp_path)
    # 1,437 images are 23 batches of 64: 230 steps a cell.
    assert sum(found.hours.values()) == pytest.approx(2 * 230 * (1.5 + 3.0) / 3600)
    assert (found.priced, found.left, found.on_gpu) == (4, 0, frozenset())


def test_gpu_hours_count_every_gpu(tmp_path: Path) -> None:
    measured(tmp_path, 0.5, machine=GPU, T=4)
    found = price([cell(T=4)], tmp_path)
    assert found.hours == {"NVIDIA H200": pytest.approx(230 * 0.5 * 4 / 3600)}
    assert found.lines()[0].startswith("Training steps of 1 cell: about 0.128 GPU hours on NVIDIA H200,")


def test_what_comes_on_top_is_told(tmp_path: Path) -> None:
    measured(tmp_path, 0.5, T=4)
    without, measuring = cell(T=4), cell(T=4, trainer__align_every=1)
    for cells, told in (
        ([without], "; evaluation comes on top."),
        ([measuring], "; evaluation and what trainer.align_every measures come on top."),
        ([without, measuring, cell(T=8, trainer__align_every=1)], "measures, for 1 of them, come on top."),
    ):
        assert price(cells, tmp_path).lines()[0].endswith(told)


@pytest.mark.parametrize(
    "changes",
    [
        {"T": 8},
        {"step_mode": "s"},
        {"grad_mode__segments": 2},
        {"trainer__batch_size": 32},
        {"trainer__precision": "bf16"},
        {"arch__channels": 3},
        {"neuron__name": "if"},
    ],
    ids=str,
)
def test_another_network_or_another_way_has_no_price(changes: dict[str, Any], tmp_path: Path) -> None:
    measured(tmp_path, 0.5, **{"T": 4} | changes)
    found = price([cell(T=4)], tmp_path)
    assert (found.priced, found.left, found.lines()) == (0, 1, [])


def test_what_is_not_measured_is_told(tmp_path: Path) -> None:
    measured(tmp_path, 3600.0, T=4)
    found = price([cell(T=4, trainer__limit_batches=1), cell(T=4), cell(T=8)], tmp_path)
    assert found.hours.popitem()[1] == pytest.approx(10 + 230)
    assert "1 more without a measured step" in found.lines()[1]


@pytest.mark.parametrize(
    "lacking", [{"train_images": None}, {"step_seconds": None}, {"machine": None}], ids=str
)
def test_results_that_do_not_know_and_damaged_ones_are_passed_over(
    lacking: dict[str, Any], tmp_path: Path
) -> None:
    measured(tmp_path / "a", 0.5, T=4, more=lacking)
    measured(tmp_path / "b", 0.5, T=4, seed=2)
    (config_file,) = (tmp_path / "b").glob("*/config.yaml")
    config_file.write_text("{")
    assert price([cell(T=4)], tmp_path).priced == 0
    assert price([cell(T=4)], tmp_path / "nothing") == Price({}, frozenset(), 0, 1)


def test_a_debug_run_of_each_cell_prices_the_sweep(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "sweeps").mkdir()
    (here / "sweeps" / "mine.yaml").write_text("grid: {T: [1, 2], seed: [0, 1], grad_mode: [rate]}")
    assert main(["sweeps=mine", "tracker=none", "--dry-run"]) == 0
    assert "Training steps" not in capsys.readouterr().out
    debug = ["trainer=debug", "trainer.limit_batches=5", "seed=0", "sweep.name=price"]
    assert main(["sweeps=mine", "tracker=none", *debug]) == 0
    seconds = {result["config"]["T"]: result["step_seconds"] for result in results("price")}
    assert {result["train_images"] for result in results("price")} == {1437}
    capsys.readouterr()
    assert main(["sweeps=mine", "tracker=none", "--dry-run"]) == 0
    out = capsys.readouterr().out
    hours = 2 * 12 * 23 * sum(seconds.values()) / 3600  # two seeds, twelve epochs
    assert f"Training steps of 4 cells: about {hours:.3g} hours on " in " ".join(out.split())
    assert not Path("runs", "mine").exists()
    assert (
        json.loads(next(Path("runs/price").glob("*T2*/result.json")).read_text())["machine"]["device"] in out
    )
