"""What a person sees on a terminal of 80 and of 120 columns, read from the screen of a real one."""

import json
import re
import statistics
from pathlib import Path

import pytest

from tests.support.run_folders import results, write_run
from tests.support.terminal import Shown, on_a_terminal
from tests.support.training import SHORT

WIDTHS = [80, 120]
TINY = [arg for arg in SHORT if "progress" not in arg] + ["trainer.threads=1", "tracker=none"]
GRID = ["-m", "sweep.name=mine", *TINY, "seed=0,1", "trainer.epochs=2"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, so that runs lie in runs/ as they do for people."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_whole(shown: Shown, columns: int, *words: str) -> None:
    """No row runs over the edge, and each word, which fits a row, stands in one."""
    assert shown.rows == shown.lines, shown.text
    for word in words:
        assert len(word) < columns and any(word in row for row in shown.rows), (word, shown.text)


def folders(sweep: str) -> list[str]:
    """The folders of a sweep's runs, as the program names them."""
    return [str(file.parent) for file in sorted(Path("runs", sweep).glob("*/status.json"))]


@pytest.mark.slow
@pytest.mark.parametrize("columns", WIDTHS)
def test_a_grid_on_a_terminal(here: Path, columns: int) -> None:
    """Two learning rates, of which one fails, two batch sizes by long names, two seeds, cells in a row."""
    axes = ["optimizer.lr=0.1,1e15", "trainer.eval_batch_size=32,64"]
    shown = on_a_terminal("launch", *GRID, *axes, columns=columns)
    assert shown.code == 1
    keys = ["optimizer.lr=0.1", "trainer.eval_batch_size=32", "trainer.eval_batch_size=64"]
    assert_whole(shown, columns, *keys, *folders("mine"), "runs/mine/report.html", "rbp retry runs/mine")

    # Every epoch's line stays, its cell's begin above it and its cell's result below it.
    begins = [i for i, line in enumerate(shown.lines) if re.match(r"\[\d/8\] ", line)]
    assert len(begins) == 8
    first = shown.lines[begins[0] : begins[1]]
    epochs = [line for line in first if re.match(r"epoch [12]/2  loss \S+  train acc \S+%  test acc ", line)]
    assert len(epochs) == 2
    end = " ".join(" ".join(first[first.index(epochs[1]) + 1 :]).split())
    (result,) = [one for one in results("mine") if one["name"] in "".join(first)]
    assert re.fullmatch(
        r"optimizer\.lr=0\.1 trainer\.eval_batch_size=32 seed=0: "
        rf"test acc {100 * result['test_acc']:.2f}% best {100 * result['best_test_acc']:.2f}% \d+ s",
        " ".join(sorted(end.split(": ")[0].split(), key=keys_first)) + ": " + end.split(": ", 1)[1],
    ), end

    # The bar is one row, says whose accuracy it shows, and is gone in the end.
    bars = [row for moment in shown.moments for row in moment if "━" in row]
    assert bars and all("train acc" in row for row in bars if "loss" in row)
    assert not any("━" in row for row in shown.rows)

    # One line for four failures, which came one by one.
    told = " ".join(shown.text.split())
    assert len(re.findall(r"\d cells? failed: ", told)) == len(re.findall("4 cells failed: ", told)) == 1
    assert told.count("try a smaller optimizer.lr") == 2  # when the first failed, and in the end
    assert told.count(": failed like seed=0 ") == 3
    assert "error: 4 of the cells failed: " in told and "and 3 more" in told


def keys_first(word: str) -> tuple[bool, str]:
    return word.startswith("seed"), word


@pytest.mark.slow
@pytest.mark.parametrize("columns", WIDTHS)
def test_the_table_has_the_mean_and_standard_deviation_of_the_results(here: Path, columns: int) -> None:
    shown = on_a_terminal("launch", *GRID, "grad_mode=bptt,rate", columns=columns)
    assert shown.code == 0 and shown.rows == shown.lines, shown.text
    table = shown.text[shown.text.index("grad_mode  seeds") :]
    assert "mean ± standard deviation over seeds" in table
    for mode in ("bptt", "rate"):
        its = [one for one in results("mine") if one["config"]["grad_mode"] == mode]
        lines = "\n".join(line for line in table.splitlines() if line.startswith(mode))
        assert len(its) == 2 and re.match(rf"{mode} +2 ", lines)
        for key in ("test_acc", "best_test_acc"):
            values = [100 * one[key] for one in its]
            assert f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}%" in lines, table
        memory = [one["peak_memory_bytes"] / 2**20 for one in its]
        assert f"{statistics.mean(memory):,.1f} ± {statistics.stdev(memory):,.1f}" in lines, table


@pytest.mark.slow
def test_a_run_alone_keeps_its_epochs_and_tells_its_result_and_that_it_stopped_early(here: Path) -> None:
    stop = ["trainer.early_stop=1", "trainer.epochs=30", "dataset.val_split=0.2", "optimizer.lr=1e-9"]
    shown = on_a_terminal("launch", *TINY, *stop)
    assert shown.code == 0
    (result,) = results()
    (folder,) = folders("single")
    assert result["epochs"] < 30
    assert_whole(shown, 80, folder, result["name"])
    assert sum(line.startswith("epoch ") for line in shown.lines) == result["epochs"]
    text = " ".join(shown.text.split())
    assert f"stops early after epoch {result['epochs']}: none since epoch " in text
    assert f"{result['name']}: test acc {100 * result['test_acc']:.2f}% best " in text
    assert f"stopped early after epoch {result['epochs']}" in text.split(f"{result['name']}: test acc")[1]


@pytest.mark.slow
def test_jobs_are_shown_live_and_a_dry_run_and_their_states_by_their_keys(here: Path) -> None:
    sweep = ["-m", "sweep.name=mine", *TINY, "trainer.epochs=1", "trainer.eval_batch_size=32,64"]
    dry = on_a_terminal("launch", *sweep, "--dry-run")
    assert_whole(dry, 80, "trainer.eval_batch_size=32", "2 to run; nothing was started.")
    assert sum(" runs/mine/digits-" in row for row in dry.rows) == 2
    shown = on_a_terminal("launch", *sweep, "hydra/launcher=local")
    assert shown.code == 0, shown.text
    assert_whole(shown, 80, "runs/mine/report.html")
    tables = [moment for moment in shown.moments if any(row.startswith("cell ") for row in moment)]
    at_work = [row.split() for moment in tables for row in moment if row.startswith("trainer.")]
    assert {tuple(row[:1]) for row in at_work} >= {("trainer.eval_batch_size=32",)}
    assert {row[1] for row in at_work if len(row) > 1} & {"queued", "running"}
    status = on_a_terminal("rbp", "status", "runs/mine")
    assert_whole(status, 80, "trainer.eval_batch_size=64", "runs/mine: 2 runs: 2 done")
    assert sum("test acc" in row for row in status.rows) == 2


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_help_breaks_no_word(here: Path, columns: int) -> None:
    shown = on_a_terminal("launch", "--help", columns=columns)
    words = [
        "vggsnn_cifar",
        "fashion_mnist",
        "hydra.sweeper.pairs",
        "trainer.precision=bf16",
        "hydra/launcher=inline",
    ]
    assert_whole(shown, columns, *words)
    assert shown.code == 0


def test_a_path_longer_than_the_screen_runs_over_its_edge_whole(here: Path) -> None:
    sweep = here / ("a-folder-with-a-long-name/" * 5) / "runs" / "mine"
    folder = write_run(sweep, None, "failed", "out of memory")
    shown = on_a_terminal("rbp", "status", str(sweep))
    assert shown.code == 1 and len(str(folder)) > 120
    assert any(line.strip() == f"rbp logs {folder}" for line in shown.lines), shown.text
    assert any(line.strip().startswith(f"{sweep}:") for line in shown.lines), shown.text


def test_a_cell_whose_key_leaves_no_room_beside_it_has_its_state_below(here: Path) -> None:
    neuron = "my_lab.neurons.parametric_leaky_integrate_and_fire.ParametricLIFNode"
    for seed in (0, 1):
        write_run(here / "runs" / "mine", 0.9, seed=seed, neuron__name=neuron)
    write_run(here / "runs" / "mine", None, "failed", "\x1b[31mno room\x1b[0m", neuron__name="lif")
    shown = on_a_terminal("rbp", "status", "runs/mine")
    assert_whole(shown, 80, f"neuron={neuron}")
    assert shown.rows.count("  done  test acc 90.00%  best 91.00%  1 min 40 s") == 2
    assert (
        "  failed" in shown.rows and "\x1b[31mno room" not in shown.sent and "failed: no room" in shown.text
    )


@pytest.mark.parametrize("columns", WIDTHS)
def test_status_of_two_grids_labels_each_run_by_what_differs_within_its_own(here: Path, columns: int) -> None:
    sweep = here / "runs" / "mine"
    first = [write_run(sweep, optimizer__lr=0.05, grad_mode=mode) for mode in ("bptt", "rate")]
    second = [write_run(sweep, trainer__batch_size=16, T=T) for T in (1, 2)]
    notes = {run.name: {"grad_mode": "?"} for run in first} | {run.name: {"T": "?"} for run in second}
    (sweep / ".sweep").mkdir()
    (sweep / ".sweep" / "sweep.yaml").write_text(json.dumps({"cells": notes}))
    shown = on_a_terminal("rbp", "status", "runs/mine", columns=columns)
    assert_whole(shown, columns, "optimizer.lr=0.05", "trainer.batch_size=16", "runs/mine: 4 runs: 4 done")
    cells = [row.split()[:2] for row in shown.rows if "test acc" in row]
    assert sorted(cells) == [
        ["T=1", "done"],
        ["T=2", "done"],
        ["grad_mode=bptt", "done"],
        ["grad_mode=rate", "done"],
    ]


def test_status_of_a_folder_that_holds_no_runs_names_none_that_is_no_run(here: Path) -> None:
    for name in ("conf", "docs", "tests"):
        (here / name).mkdir()
    (here / "conf" / "config.yaml").write_text("defaults: []\n")
    shown = on_a_terminal("rbp", "status", ".")
    assert shown.code == 2 and not re.search(r"\b(conf|docs|tests)\b", shown.text.replace(str(here), ""))
    write_run(here / "runs" / "mine")
    shown = on_a_terminal("rbp", "status", ".")
    assert shown.code == 0 and shown.lines == ["runs/mine  1 run: 1 done"], shown.text


def test_what_is_no_text_for_people_is_left_as_it_is(here: Path) -> None:
    write_run(here / "runs" / "mine", None, "failed", "a reason of many words " * 10)
    shown = on_a_terminal("rbp", "status", "runs/mine", "--json")
    assert json.loads("\n".join(shown.lines))[0]["state"] == "failed"
