"""The second table: what it takes to reach the same accuracy, worked out by hand, and gradient norms."""

import json
from pathlib import Path

import pytest

from rbp.report import write_report
from rbp.report.comparison.axes import choose_axes
from rbp.report.comparison.training import Training, courses
from rbp.report.figures.curves import gradient_norms
from rbp.report.figures.sets import figure_sets
from rbp.report.read import read_run
from rbp.report.texts.training import training_table
from rbp.runs.metrics import read_gradient_norms, step_line
from tests.support.reports import facet, facets, shown_runs
from tests.support.run_folders import write_run


def course(folder: Path, value: str) -> Training:
    (found,) = [of for of in courses(facets(folder)) if of.group.value == value]
    return found


def test_updates_and_seconds_are_those_of_the_first_epoch_with_the_accuracy_that_all_reach(
    tmp_path: Path,
) -> None:
    # Ten updates and two seconds an epoch. Rate-BP ends at 0.80 and 0.86: 0.83 is to be reached.
    curves = {
        ("bptt", 0): [0.5, 0.83, 0.95, 0.90],
        ("bptt", 1): [0.8, 0.82, 0.90, 0.94],
        ("rate", 0): [0.5, 0.6, 0.7, 0.80],
        ("rate", 1): [0.9, 0.6, 0.7, 0.86],
    }
    for (mode, seed), curve in curves.items():
        *before, last = curve
        write_run(tmp_path, last, grad_mode=mode, seed=seed, curve=tuple(before), each={"seconds": 2.0})
    bptt, rate = course(tmp_path, "bptt"), course(tmp_path, "rate")
    assert bptt.target == rate.target == pytest.approx(0.83)
    assert bptt.updates is not None and (bptt.updates.mean, bptt.updates.n) == (25, 2)  # 20 and 30
    assert bptt.seconds.mean is not None and bptt.seconds.mean.mean == 5  # 4 and 6
    assert rate.reached == 1 and rate.updates is not None and rate.updates.mean == 10  # the second alone
    assert rate.updates_ratio == pytest.approx(10 / 30) and rate.seconds.ratio == pytest.approx(2 / 6)
    assert bptt.updates_ratio is None


def test_one_method_alone_has_nothing_to_reach(tmp_path: Path) -> None:
    write_run(tmp_path, 0.9, grad_mode="rate")
    assert course(tmp_path, "rate").target is None
    write_report([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out" / "training.md").exists()
    assert 'id="training"' not in (tmp_path / "out" / "report.html").read_text()


def test_other_time_steps_are_another_place(tmp_path: Path) -> None:
    for T, accuracy in ((2, 0.5), (4, 0.9)):
        for mode in ("bptt", "rate"):
            write_run(tmp_path, accuracy, grad_mode=mode, T=T)
    assert [of.target for of in courses(facets(tmp_path))] == [0.5, 0.5, 0.9, 0.9]


def write_steps(file: Path, *lines: tuple[int, int, float | None]) -> None:
    """Append lines of steps: completed epochs, the batch of three, the norm."""
    with file.open("a") as stream:
        for epoch, batch, norm in lines:
            stream.write(json.dumps(step_line(epoch, batch, 3, 1.5, norm)) + "\n")


def test_a_row_without_another_beside_it_lacks_nothing(tmp_path: Path) -> None:
    for mode in ("bptt", "rate"):
        write_run(tmp_path, 0.9, grad_mode=mode, T=2, each={"seconds": 2.0})
    alone = write_run(tmp_path, 0.9, grad_mode="bptt", T=4)
    write_steps(alone / "metrics.jsonl", (0, 1, 2.0))  # so that the table has a row of it
    table = training_table(courses(facets(tmp_path)), choose_axes(shown_runs(tmp_path)))
    assert table is not None and len(table.rows) == 3 and set(table.notes) == {""}


def test_gradient_norms_are_means_over_the_recorded_steps_of_an_epoch(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert read_gradient_norms(file) == {}
    write_steps(file, (0, 1, 2.0), (0, 3, 4.0))
    file.write_text(file.read_text() + '{"epoch": 1, "step": 3, "test_acc": 0.5}\n')
    write_steps(file, (1, 1, 1e-9), (1, 2, None), (0, 3, 6.0))  # infinite; and computed again after a kill
    with file.open("a") as stream:
        stream.write('{"epoch": 1.6, "step": 5, "step_loss": 1.0, "grad_norm": 7')  # cut short by a kill
    assert read_gradient_norms(file) == {1: 4.0, 2: 1e-9}


def test_gradient_norms_stand_in_the_table_and_in_a_figure(tmp_path: Path) -> None:
    for mode, norm in (("bptt", 1.0), ("rate", 3.0)):
        for seed in (0, 1):
            folder = write_run(tmp_path, 0.9, grad_mode=mode, seed=seed)
            write_steps(folder / "metrics.jsonl", (0, 1, norm), (0, 2, norm + 1), (1, 1, norm + seed))
            assert read_run(folder).gradient_norms == {1: norm + 0.5, 2: norm + seed}
    norm_of_rate = course(tmp_path, "rate").norm
    assert norm_of_rate is not None and norm_of_rate.mean == pytest.approx(3.5)  # (3.25 + 3.75) / 2
    lines = {series.mode: series for series in gradient_norms(facet(tmp_path)).series}
    assert list(lines["bptt"].x) == [1, 2] and list(lines["bptt"].y) == [1.5, 1.5]
    (made,) = figure_sets(facets(tmp_path))
    assert "gradient" in [figure.name for figure in made.figures]
    write_report([tmp_path], tmp_path / "out", svg=True)
    assert "gradient norm" in (tmp_path / "out" / "training.md").read_text()
    assert list((tmp_path / "out" / "figures").glob("gradient*.svg"))
