"""Runs for other programs: rbp.runs as a DataFrame, and the CSVs as pandas reads them, true to the files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import rbp
from rbp.errors import UserError
from rbp.report import write_report
from tests.support.run_folders import steps_and_energy, write_run

pandas = pytest.importorskip("pandas")

EACH = {"seconds": 2.5, "test_loss": 0.5, "lr": None}


def sweep(folder: Path) -> Path:
    """Two neurons at two T in both gradient modes, a run that failed and one that is queued."""
    for n, (T, neuron) in enumerate([(2, "if"), (2, "lif"), (4, "if"), (4, "lif")]):
        for mode in ("bptt", "rate"):
            write_run(folder, 0.5 + n / 7, grad_mode=mode, T=T, neuron__name=neuron, each=EACH)
    write_run(folder, None, "failed", 'no room, "left"\nat all', grad_mode="rate", T=8, optimizer__lr=1)
    write_run(folder, None, "queued", grad_mode="rate", T=16, curve=())
    return folder


def test_a_frame_has_a_row_a_run_with_its_state_keys_and_results(tmp_path: Path) -> None:
    frame = rbp.runs(sweep(tmp_path))
    folders = {str(folder.resolve()) for folder in tmp_path.iterdir()}
    assert set(frame["folder"]) == folders and len(frame) == 10
    assert frame["state"].value_counts().to_dict() == {"done": 8, "failed": 1, "queued": 1}
    for row in frame.to_dict("records"):
        file = Path(row["folder"]) / "result.json"
        if row["state"] != "done":
            assert not file.exists() and pandas.isna(row["test_acc"]) and row["T"] in (8, 16)
            continue
        result = json.loads(file.read_text())
        for key, value in result.items():
            if not isinstance(value, dict | list) and key not in ("name", "epochs"):
                assert row[key] == value, key
        for key in ("dataset", "arch", "neuron", "T", "step_mode", "grad_mode", "seed"):
            assert row[key] == result["config"][key]
    means = frame[frame["state"] == "done"].groupby(["neuron", "T", "grad_mode"])["test_acc"].mean()
    assert means["lif", 4, "rate"] == pytest.approx(0.5 + 3 / 7)
    assert set(frame["optimizer.lr"]) == {0.1, 1.0} and frame["test_acc"].dtype == float


def test_a_frame_has_operations_and_energies_as_columns(tmp_path: Path) -> None:
    write_run(tmp_path, grad_mode="rate", T=2, more=steps_and_energy([0.5, 0.9], 1.8))
    write_run(tmp_path, grad_mode="bptt", T=2)
    frame = rbp.runs(tmp_path).set_index("grad_mode")
    assert frame.loc["rate", "energy_uj"] == 1.8 and frame.loc["rate", "ann_energy_uj"] == 23.0
    assert frame.loc["rate", "additions"] == pytest.approx(2e6)
    assert frame["energy_uj"].isna().tolist() == [True, False]


def test_both_csvs_are_read_at_once(tmp_path: Path) -> None:
    write_report([sweep(tmp_path / "s")], tmp_path / "out")
    runs, epochs = (pandas.read_csv(tmp_path / "out" / name) for name in ("results.csv", "epochs.csv"))
    frame = rbp.runs(tmp_path / "s")
    assert list(runs.columns) == list(frame.columns) and len(set(runs.columns)) == len(runs.columns)
    assert runs["test_acc"].equals(frame["test_acc"]) and runs["T"].dtype == int
    assert runs["error"].dropna().tolist() == ['no room, "left"\nat all']
    assert not any(" " in column for column in (*runs.columns, *epochs.columns))
    assert list(epochs.columns[:2]) == ["sweep", "name"] and {"neuron", "optimizer.lr"} <= set(epochs.columns)
    lines = {
        (name, line["epoch"]): line
        for name in runs["name"]
        for line in map(json.loads, (tmp_path / "s" / name / "metrics.jsonl").read_text().splitlines())
    }
    assert len(lines) == len(epochs) == 8 * 3 + 2
    for row in epochs.to_dict("records"):
        line = lines[row["name"], row["epoch"]]
        for key in ("step", "test_acc", "train_loss", "seconds", "test_loss"):
            assert row[key] == line[key] if key in line else pandas.isna(row[key])
    assert "lr" not in epochs.columns  # nothing was measured
    told = epochs.drop_duplicates("name").merge(runs, on="name", suffixes=("", "_run"))
    assert (told["T"] == told["T_run"]).all() and (told["neuron"] == told["neuron_run"]).all()


def test_a_key_that_only_some_runs_have_shifts_no_column(tmp_path: Path) -> None:
    """The chunks of rate mode, where sweeps differ in them alone, beside BPTT."""
    for sweep_name, chunk in (("a", None), ("b", 2)):
        for mode in ("bptt", "rate"):
            write_run(tmp_path / sweep_name, grad_mode=mode, trainer__chunk=chunk, each=EACH)
    write_report([tmp_path])
    epochs, runs = (pandas.read_csv(tmp_path / name) for name in ("epochs.csv", "results.csv"))
    for table in (epochs, runs):
        chunks = {(row["grad_mode"], row["trainer.chunk"]) for row in table.fillna(0).to_dict("records")}
        assert chunks == {("bptt", 0), ("rate", 4), ("rate", 2)}
        assert set(table["seed"]) == {0}
    assert set(epochs["test_loss"]) == {0.5} and set(epochs["seconds"]) == {2.5}


def test_a_long_run_has_every_epoch_in_the_csv_and_some_in_the_figures(tmp_path: Path) -> None:
    curve = tuple(n / 1000 for n in range(450))
    write_run(tmp_path, 0.9, curve=curve, trainer__epochs=451)
    page = write_report([tmp_path]).read_text()
    epochs = pandas.read_csv(tmp_path / "epochs.csv")
    assert epochs["epoch"].tolist() == list(range(1, 452)) and epochs["test_acc"].tolist() == [*curve, 0.9]
    assert len(page) < 200_000


def test_an_epoch_that_a_resumed_run_wrote_again_counts_once(tmp_path: Path) -> None:
    file = write_run(tmp_path, 0.9) / "metrics.jsonl"
    again = json.loads(file.read_text().splitlines()[1]) | {"test_acc": 0.25}
    file.write_text(file.read_text() + json.dumps(again) + "\n" + '{"epoch": 4, "test_')
    write_report([tmp_path])
    epochs = pandas.read_csv(tmp_path / "epochs.csv")
    assert dict(zip(epochs["epoch"], epochs["test_acc"], strict=True)) == {1: 0.5, 2: 0.25, 3: 0.9}


def test_several_folders_are_one_frame_and_a_run_of_two_counts_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, 0.8, grad_mode="rate")
    write_run(tmp_path / "b", 0.8, grad_mode="bptt")
    (tmp_path / "b" / "broken").mkdir()
    (tmp_path / "b" / "broken" / "result.json").write_text("{}")
    with pytest.warns(UserWarning) as told:
        frame = rbp.runs(str(tmp_path / "a"), tmp_path / "b")
    assert frame["grad_mode"].tolist() == ["bptt", "rate"] and set(frame["sweep"]) == {"b"}
    assert [warning.filename for warning in told] == [__file__] * 2
    assert "broken" in str(told[0].message) and "1 runs of" in str(told[1].message)


def test_without_pandas_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"pip install 'rbp-snn\[pandas\]'"):
        rbp.runs(sweep(tmp_path))


def test_the_package_of_run_folders_is_still_one_and_nothing_loads_pandas_unasked() -> None:
    code = "import sys, rbp.runs.folder as f, rbp, rbp.report.write; from rbp.runs import status; "
    code += "print(callable(rbp.runs), f.RunFolder.__name__, status.__name__, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "RunFolder", "rbp.runs.status", "False"]


def test_a_folder_may_be_named_from_the_home_and_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "runs")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(rbp.runs("~/runs")) == 1
    with pytest.raises(UserError, match="needs folders"):
        rbp.runs()
