"""Published accuracies stand beside ours, after the last epoch and of the best."""

from pathlib import Path

import pytest

from rbp.errors import ConfigError
from rbp.report import write_report
from rbp.report.read import read_runs
from rbp.sweep.launch import main
from tests.support.configs import make
from tests.support.reports import table
from tests.support.run_folders import write_run


def test_a_published_accuracy_stands_beside_the_last_and_the_best_epochs(tmp_path: Path) -> None:
    for mode, published in (("bptt", None), ("rate", 76.96)):
        for seed, accuracy in ((0, 0.70), (1, 0.80)):
            more = {"best_test_acc": accuracy + 0.05, "headline": "best", "headline_acc": accuracy + 0.05}
            write_run(tmp_path, accuracy, grad_mode=mode, seed=seed, more=more, sweep__published=published)
    of = table(tmp_path)
    bptt, rate = (dict(zip(of.titles, row, strict=True)) for row in of.rows)
    assert rate["test accuracy (%)"] == "80.00 ± 7.07 (n=2)"
    assert rate["published (%): our last epoch"] == "75.00 ± 7.07 (n=2)"
    assert rate["published (%): our best epoch"] == "80.00 ± 7.07 (n=2)"
    assert rate["published (%)"] == "76.96"
    assert bptt["published (%)"] == "–"
    assert "the test set chose it" in of.about
    write_report([tmp_path], tmp_path / "out")
    assert "76.96" in (tmp_path / "out" / "report.html").read_text()
    assert "76.96" in (tmp_path / "out" / "table.tex").read_text()


def test_without_published_accuracies_there_is_no_such_column(tmp_path: Path) -> None:
    write_run(tmp_path, 0.9)
    assert not any("published" in title for title in table(tmp_path).titles)


def test_a_run_is_the_same_with_and_without_a_published_accuracy(tmp_path: Path) -> None:
    assert write_run(tmp_path / "a").name == write_run(tmp_path / "b", sweep__published=96.26).name


@pytest.mark.parametrize("value", ["-1", "100.1"])
def test_a_published_accuracy_is_in_per_cent(value: str) -> None:
    with pytest.raises(ConfigError, match=r"sweep\.published"):
        make(f"sweep.published={value}")


def test_a_published_accuracy_goes_along_with_its_cell(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "sweeps").mkdir()
    (here / "sweeps" / "mine.yaml").write_text(
        "fixed: {T: 1}\npairs: [{grad_mode: [bptt, rate], sweep.published: [null, 76.96]}]"
    )
    assert main(["sweeps=mine", "tracker=none", "trainer=debug"]) == 0
    assert "published" not in capsys.readouterr().out
    found = {run.grad_mode: run.published for run in read_runs([here / "runs"])[0]}
    assert found == {"bptt": None, "rate": pytest.approx(0.7696)}
    assert "76.96" in (here / "runs" / "mine" / "report.html").read_text()
