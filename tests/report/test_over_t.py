"""Accuracy over t and against energy: figures, table and CSVs have the numbers of result.json."""

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from rbp.report import write_report
from rbp.report.figures.over_t import accuracy_over_energy, accuracy_over_t
from rbp.report.figures.sets import figure_sets
from rbp.report.figures.style import KNOWN
from rbp.report.figures.svg import draw_svg
from tests.support.reports import facet, facets, table
from tests.support.run_folders import steps_and_energy, write_run

MODES = ("bptt", "rate", "sltt", "ottt")


def methods(folder: Path) -> None:
    """Four gradient modes at two T with two seeds; energies of 1 to 4 uJ by T, 0.1 apart by mode."""
    for T in (2, 4):
        for n, mode in enumerate(MODES):
            for seed in (0, 1):
                accuracies = [0.5 + 0.1 * t + 0.01 * n + 0.02 * seed for t in range(T)]
                more = steps_and_energy(accuracies, T + n / 10)
                write_run(folder, accuracies[-1], grad_mode=mode, T=T, seed=seed, step_mode="s", more=more)


def test_accuracy_over_t_is_the_mean_of_the_seeds_at_each_step(tmp_path: Path) -> None:
    methods(tmp_path)
    figure = accuracy_over_t(facet(tmp_path), 4)
    lines = {series.mode: series for series in figure.series}
    assert set(lines) == {*MODES} and {series.look for series in lines.values()} == {"mean"}
    assert list(lines["sltt"].x) == [1, 2, 3, 4]
    assert lines["sltt"].y == pytest.approx([53, 63, 73, 83])  # 0.52 and 0.54 and on
    assert lines["sltt"].high == pytest.approx([y + 2**0.5 for y in (53, 63, 73, 83)])
    assert lines["ottt"].label == "OTTT (n=2)" and "T=4" in figure.of
    assert [list(series.x) for series in accuracy_over_t(facet(tmp_path), 2).series] == [[1, 2]] * 4


def test_accuracy_against_energy_has_a_marker_a_run_and_the_ann(tmp_path: Path) -> None:
    methods(tmp_path)
    figure = accuracy_over_energy(facet(tmp_path))
    found = {series.mode: sorted(zip(series.x, series.y, strict=True)) for series in figure.series}
    assert found["rate"] == [pytest.approx(point) for point in ((2.1, 61), (2.1, 63), (4.1, 81), (4.1, 83))]
    assert figure.mark is not None and figure.mark.x == 23 and "as an ANN: 23 µJ" in draw_svg(figure)
    assert "Horowitz 2014" in figure.about and "arithmetic alone" in figure.about
    ElementTree.fromstring(draw_svg(figure))


def test_both_figures_are_in_the_report_each_mode_in_its_colour(tmp_path: Path) -> None:
    methods(tmp_path)
    (made,) = figure_sets(facets(tmp_path))
    assert "energy" in [figure.name for figure in made.over_x]
    assert all("over-t" in [figure.name for figure in figures] for figures in made.of_x.values())
    for figure in made.figures:
        assert all(KNOWN[mode].colour in draw_svg(figure) for mode in MODES), figure.name


def test_results_without_them_have_no_such_figure_and_no_column(tmp_path: Path) -> None:
    unknown: list[dict[str, Any]] = [{}, {"test_acc_over_t": None, "operations": None}, {"operations": "no"}]
    for n, more in enumerate(unknown):
        for mode in ("bptt", "rate"):
            write_run(tmp_path / "s", grad_mode=mode, seed=n, more=more)
    (made,) = figure_sets(facets(tmp_path))
    assert not {"energy", "over-t"} & {figure.name for figure in made.figures}
    assert not any("energy" in title for title in table(tmp_path).titles)
    write_report([tmp_path / "s"], tmp_path / "out")
    assert not (tmp_path / "out" / "over_t.csv").exists()
    assert "over_t.csv" not in (tmp_path / "out" / "report.html").read_text()
    assert "energy_uj" not in (tmp_path / "out" / "results.csv").read_text()


def test_a_new_run_beside_an_old_one_is_shown_alone(tmp_path: Path) -> None:
    write_run(tmp_path, grad_mode="bptt", T=2, step_mode="s")
    write_run(tmp_path, grad_mode="sltt", T=2, step_mode="s", more=steps_and_energy([0.5, 0.9], 1.234))
    of = facet(tmp_path, compare="grad_mode")
    assert [series.mode for series in accuracy_over_t(of).series] == ["sltt"]
    assert [series.mode for series in accuracy_over_energy(of).series] == ["sltt"]
    made = table(tmp_path, compare="grad_mode")
    assert [row[made.titles.index("energy (µJ)")] for row in made.rows] == ["–", "1.23"]


def test_the_figures_are_of_the_last_epoch_also_where_the_best_counts(tmp_path: Path) -> None:
    more = steps_and_energy([0.6, 0.7], 1.0) | {"headline": "best", "headline_acc": 0.9}
    write_run(tmp_path, 0.7, T=2, more=more)
    (series,) = accuracy_over_energy(facet(tmp_path)).series
    assert series.y == pytest.approx([70])


def test_operations_that_are_missing_are_named(tmp_path: Path) -> None:
    more = steps_and_energy([0.5, 0.9], 1.0)
    more["operations"]["not_counted"] = {"block.attention": "it multiplies in a way that is not known"}
    write_run(tmp_path, T=2, more=more)
    assert "Not counted: block.attention." in accuracy_over_energy(facet(tmp_path)).about
    assert table(tmp_path).notes == ("energy without the operations of block.attention",)


def test_networks_that_differ_have_no_common_ann(tmp_path: Path) -> None:
    for n, arch in enumerate(("a", "b")):
        more = steps_and_energy([0.5, 0.9], 1.0)
        more["operations"]["ann"]["energy_uj"] = 1.0 + n
        write_run(tmp_path, arch__name=arch, T=2, more=more)
    assert accuracy_over_energy(facet(tmp_path, compare="arch")).mark is None


def test_texts_and_csvs_have_the_numbers_of_result_json(tmp_path: Path) -> None:
    methods(tmp_path / "s")
    write_report([tmp_path / "s"], tmp_path)
    runs = list(csv.DictReader((tmp_path / "results.csv").open()))
    steps = list(csv.DictReader((tmp_path / "over_t.csv").open()))
    assert len(runs) == 16 and len(steps) == 8 * (2 + 4)
    for row in runs:
        result = json.loads((tmp_path / "s" / row["name"] / "result.json").read_text())
        of = result["operations"]
        assert [float(row[key]) for key in ("additions", "macs", "energy_uj")] == [
            *(of["additions"], of["macs"], of["energy_uj"])
        ]
        assert (float(row["ann_energy_uj"]), float(row["ann_macs"])) == (23.0, 5e6)
        assert float(row["energy_uj_static_once"]) == of["static_once"]["energy_uj"]
        own = [step for step in steps if step["name"] == row["name"]]
        assert [int(step["t"]) for step in own] == list(range(1, int(row["T"]) + 1))
        assert [float(step["test_acc"]) for step in own] == result["test_acc_over_t"]
        assert [float(step["energy_uj"]) for step in own] == of["over_t"]["energy_uj"]
    markdown, latex = ((tmp_path / name).read_text() for name in ("table.md", "table.tex"))
    assert "| energy (µJ) |" in markdown and "Horowitz 2014" in markdown
    assert r"\multicolumn{1}{c}{energy ($\mu$J)}" in latex and r"& 4.30 \\" in latex
    assert 'href="over_t.csv"' in (tmp_path / "report.html").read_text()
