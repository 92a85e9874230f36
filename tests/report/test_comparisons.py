"""Each kind of comparison that is asked of a report: a table without gaps, figures to it, true numbers."""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from rbp.report import write_report
from rbp.report.comparison.settings import as_text, settings, text_of
from rbp.report.figures.sets import figure_sets
from rbp.report.read import Run
from tests.support.browser import PHONE, opened
from tests.support.reports import compared, facets, shown_runs, table
from tests.support.run_folders import write_run

EACH = {"seconds": 2.0, "test_loss": 0.5}


def write_grid(folder: Path, grid: dict[str, list[Any]], seeds: int = 2) -> None:
    """A run of every combination, in rate mode; accuracies rise with each value, and with the seed."""
    for n, values in enumerate(product(*grid.values())):
        for seed in range(seeds):
            changes: dict[str, Any] = {"grad_mode": "rate", **dict(zip(grid, values, strict=True))}
            accuracy, seconds = 0.5 + 0.02 * n + 0.003 * seed * (n + 1), 0.01 * (n + 1)
            write_run(folder, accuracy, seed=seed, seconds=seconds, each=EACH, **changes)


# What differs, the key that is compared, its base, the key on the x axis, and the table's first columns.
Kind = tuple[dict[str, list[Any]], str, str, str | None, tuple[str, ...]]
MODES, RATES, WIDTHS = ["bptt", "rate"], [0.1, 0.05, 0.2], [8, 16]
THREE: dict[str, list[Any]] = {"grad_mode": MODES, "T": [2, 4], "neuron__name": ["if", "lif"]}
KINDS: dict[str, Kind] = {
    "neurons": ({"neuron__name": ["lif", "lif_hard"]}, "neuron", "lif", None, ("neuron",)),
    "rates": ({"optimizer__lr": RATES}, "optimizer.lr", "0.05", "optimizer.lr", ("optimizer.lr",)),
    "widths": ({"arch__width": WIDTHS}, "arch.width", "8", "arch.width", ("arch.width",)),
    "widths over T": ({"arch__width": WIDTHS, "T": [2, 4]}, "arch.width", "8", "T", ("T", "arch.width")),
    "one T": ({"grad_mode": MODES, "T": [4]}, "grad_mode", "bptt", None, ("grad_mode",)),
    "over T": ({"grad_mode": MODES, "T": [2, 4]}, "grad_mode", "bptt", "T", ("T", "grad_mode")),
    "segments": ({"grad_mode__segments": [1, 2, 4]}, "grad_mode", "rate", None, ("grad_mode",)),
    "facets": (THREE, "grad_mode", "bptt", "T", ("neuron", "T", "grad_mode")),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_the_table_has_the_keys_that_differ_and_no_empty_column(tmp_path: Path, kind: str) -> None:
    grid, compare, base, x, keys = KINDS[kind]
    write_grid(tmp_path, grid)
    found = table(tmp_path)
    assert found.keys == keys
    columns = list(zip(*found.rows, strict=True))
    assert all(set(column) != {"–"} for column in columns)
    assert all(len(set(column)) > 1 for column in columns[: len(keys)])
    assert [group for group, _ in found.figures].count("test accuracy (%)") == 2
    assert not any("no run" in note for note in found.notes)
    rows = compared(tmp_path)
    assert {(row.facet.compare, row.facet.base, row.facet.x_key) for row in rows} == {(compare, base, x)}
    assert all((row.difference is None) == (row.group.value == base) for row in rows)


@kinds
def test_every_number_is_that_of_result_json(tmp_path: Path, kind: str) -> None:
    grid, compare, base, x, _ = KINDS[kind]
    write_grid(tmp_path, grid)
    compared_key, x_key = (
        next(k for k in (key, f"{key}.name") if known(tmp_path, k)) for key in (compare, x or "T")
    )
    results: dict[tuple[str, ...], dict[int, dict[str, Any]]] = defaultdict(dict)
    others = [key for key in differing_keys(tmp_path) if key not in (compared_key, x_key)]
    of = placer(compared_key, x_key, others)
    for run in shown_runs(tmp_path):
        results[of(run)][run.seed] = json.loads((run.folder / "result.json").read_text())
    rows = compared(tmp_path)
    assert len(rows) == len(results)
    for row in rows:
        at = of(row.group.runs[0])
        own = results[at]
        assert row.accuracy is not None and row.accuracy.n == len(own) == 2
        assert row.accuracy.mean == pytest.approx(fmean(result["test_acc"] for result in own.values()))
        assert row.seconds.mean is not None
        assert row.seconds.mean.mean == pytest.approx(
            fmean(result["step_seconds"] for result in own.values())
        )
        if row.difference is not None:
            there = (base, base if compared_key == x_key else at[1], *at[2:])
            pairs = [own[seed]["test_acc"] - results[there][seed]["test_acc"] for seed in own]
            assert row.difference.mean == pytest.approx(fmean(pairs))
            ratio = own[0]["step_seconds"] / results[there][0]["step_seconds"]
            assert row.seconds.ratio == pytest.approx(ratio)  # equal for both seeds


def placer(compare: str, x: str, others: list[str]) -> Callable[[Run], tuple[str, ...]]:
    def place(run: Run) -> tuple[str, ...]:
        values = settings(run)
        return tuple(text_of(values, key) for key in (compare, x, *others))

    return place


def known(folder: Path, key: str) -> bool:
    return key in settings(shown_runs(folder)[0])


def differing_keys(folder: Path) -> list[str]:
    found = [settings(run) for run in shown_runs(folder)]
    return [key for key in found[0] if len({text_of(values, key) for values in found}) > 1]


@pytest.mark.browser
@kinds
def test_the_page_answers_without_an_error(tmp_path: Path, kind: str) -> None:
    grid, compare, _, x, _ = KINDS[kind]
    write_grid(tmp_path / "sweep", grid)
    file = write_report([tmp_path / "sweep"])
    found = table(tmp_path / "sweep")
    with opened(file) as seen:
        page = seen.page
        assert seen.messages == [] and seen.requests == [file.absolute().as_uri()]
        rows = page.locator("#headline tbody tr:has(td.figure)")
        assert [tuple(rows.nth(n).locator("td").all_text_contents()) for n in range(rows.count())] == list(
            found.rows
        )
        assert "no run" not in page.locator("body").inner_text()
        assert page.locator("figure:visible").count() >= 8
        names = [figure.get_attribute("id") for figure in page.locator("figure:visible").all()]
        assert len(set(names)) == len(names) and {"figure-epochs", "figure-cost", "figure-loss"} <= set(names)
        said = "".join(page.locator("#figure-epochs text").all_text_contents())
        values = {row.group.value for row in compared(tmp_path / "sweep")}
        names_of = {"bptt": "BPTT", "rate": "Rate-BP"}
        for value in values:
            shown = value.replace("rate", "Rate-BP") if compare == "grad_mode" else f"{compare}={value}"
            assert names_of.get(value, shown) in said
        assert page.locator(".choice:visible").count() == (x is not None and x != compare) + (
            kind == "facets"
        )
        assert page.evaluate("document.documentElement.scrollWidth") == 1366
        page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


def test_chunks_decide_no_result_and_their_costs_are_never_pooled_or_compared(tmp_path: Path) -> None:
    """Two neurons in rate mode: one ran in chunks, so that its time says nothing of the neuron."""
    for seed in (0, 1):
        write_run(tmp_path, neuron__name="if", seed=seed, seconds=0.1)
        write_run(tmp_path, neuron__name="lif", seed=seed, seconds=0.4, trainer__chunk=1)
    base, row = compared(tmp_path)
    assert base.seconds.mean is not None and row.seconds.mean is not None and row.seconds.ratio is None
    assert row.notes == ("step time: not comparable: plain kernels / chunks of 1",)
    assert row.difference is not None and row.difference.n == 2


@pytest.mark.parametrize("order", [(None, 8), (8, None)])
def test_a_key_that_some_runs_lack_keeps_them_apart(tmp_path: Path, order: tuple[int | None, ...]) -> None:
    """`+arch.width=8` beside runs that do not name a width."""
    for width in order:
        changes: dict[str, Any] = {"arch__width": width} if width else {}
        write_run(tmp_path, 0.75 if width else 0.5, **changes)
    found = table(tmp_path)
    assert found.keys == ("arch.width",) and [row[:2] for row in found.rows] == [
        ("8", "75.00 (n=1)"),
        ("–", "50.00 (n=1)"),
    ]


def test_what_a_network_implies_is_not_said_to_be_shared(tmp_path: Path) -> None:
    for arch, width in (("a", 8), ("b", 16)):
        write_run(tmp_path, arch__name=arch, arch__width=width)
    shared = write_report([tmp_path]).read_text().partition('<dl class="shared">')[2].partition("</dl>")[0]
    assert "arch.width" not in shared and "<dt>optimizer.lr</dt><dd>0.1</dd>" in shared


def test_a_truth_value_is_no_number() -> None:
    assert [as_text(value) for value in (1, True, 1.0, 0, False)] == ["1", "true", "1", "0", "false"]


def test_an_infinite_value_is_compared_and_has_no_place_on_an_axis(tmp_path: Path) -> None:
    for value in (1.0, float("inf")):
        write_run(tmp_path, trainer__clip_grad=value)
    found = table(tmp_path)
    assert found.keys == ("trainer.clip_grad",) and [row[0] for row in found.rows] == ["1", "inf"]
    assert facets(tmp_path)[0].x_key is None and write_report([tmp_path]).exists()


def test_a_run_without_a_config_is_no_comparison_of_its_own(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        write_run(tmp_path, optimizer__lr=lr)
    (write_run(tmp_path, seed=3) / "config.yaml").unlink()
    rows = compared(tmp_path)
    assert {row.facet.compare for row in rows} == {"optimizer.lr"}
    (lost,) = [row for row in rows if "config.yaml" in row.facet.setting]
    assert lost.difference is None and lost.notes == (
        "without its config.yaml nothing is known to agree with it",
    )


def test_methods_with_a_learning_rate_each_are_compared_at_one_T(tmp_path: Path) -> None:
    write_run(tmp_path, 0.5, grad_mode="bptt", optimizer__lr=0.1)
    write_run(tmp_path, 0.75, grad_mode="rate", optimizer__lr=0.05)
    _, rate = compared(tmp_path)
    assert rate.difference is not None and rate.difference.mean == 0.25
    assert table(tmp_path).keys == ("optimizer.lr", "grad_mode") and rate.facet.x_key is None


def test_a_batch_that_changes_with_the_learning_rate_is_no_axis(tmp_path: Path) -> None:
    for lr, batch in ((0.1, 64), (0.05, 32)):
        for mode in ("bptt", "rate"):
            write_run(tmp_path, grad_mode=mode, optimizer__lr=lr, trainer__batch_size=batch)
    assert [facet.x_key for facet in facets(tmp_path)] == [None, None]
    assert all(row.difference for row in compared(tmp_path) if row.group.value == "rate")


def test_neither_of_two_numbers_that_change_together_passes_for_the_cause(tmp_path: Path) -> None:
    for lr, batch in ((0.1, 64), (0.05, 32)):
        write_run(tmp_path, optimizer__lr=lr, trainer__batch_size=batch)
    found = table(tmp_path)
    assert set(found.keys) == {"optimizer.lr", "trainer.batch_size"}
    assert not any(row.difference for row in compared(tmp_path))
    assert any("agrees in all else" in note for note in found.notes)
    (made,) = figure_sets(facets(tmp_path))
    figures = {figure.name: figure for figure in made.figures}
    names = {"trainer.batch_size=64, optimizer.lr=0.1", "trainer.batch_size=32, optimizer.lr=0.05"}
    for kind in ("accuracy-optimizer.lr", "cost", "epochs", "firing"):  # both, in one figure
        assert {series.label.partition(" (")[0] for series in figures[kind].series} == names
    assert "<h1>trainer.batch_size=32,64 with optimizer.lr: " in write_report([tmp_path]).read_text()


@kinds
def test_accuracy_time_and_memory_of_every_value_are_drawn(tmp_path: Path, kind: str) -> None:
    """Over the key on the x axis; without one, the compared values stand side by side."""
    grid, compare, _, x, _ = KINDS[kind]
    write_grid(tmp_path, grid)
    rows = compared(tmp_path)
    drawn = {figure.name: figure for made in figure_sets(facets(tmp_path)) for figure in made.figures}
    for what in ("accuracy", "time", "memory"):
        figure = drawn[f"{what}-{x or compare}"]
        assert {series.mode for series in figure.series} == {row.group.value for row in rows}
        assert figure.title.endswith(f" {'over' if x else 'by'} {x or compare}")
    if x is None:
        means = {s.mode: s.y for s in drawn[f"accuracy-{compare}"].series if s.look == "mean"}
        assert means == {
            row.group.value: [pytest.approx(100 * row.accuracy.mean)] for row in rows if row.accuracy
        }


def test_a_facet_without_a_base_says_so_and_the_others_are_compared(tmp_path: Path) -> None:
    for neuron in ("if", "lif"):
        for T in (2, 4):
            write_run(tmp_path, T=T, neuron__name=neuron)
            if neuron == "if":
                write_run(tmp_path, T=T, neuron__name=neuron, grad_mode="bptt")
    notes = {(row.facet.label, row.group.value, row.group.x): row.notes for row in compared(tmp_path)}
    assert {at for at, found in notes.items() if found} == {
        ("neuron=lif", "rate", 2),
        ("neuron=lif", "rate", 4),
    }
    assert notes["neuron=lif", "rate", 2][0].endswith("the nearest has neuron=if")


def test_many_values_have_a_row_each_and_a_title_that_is_short(tmp_path: Path) -> None:
    write_grid(tmp_path / "s", {"optimizer__lr": [round(0.01 * n, 2) for n in range(1, 13)]}, seeds=1)
    text = write_report([tmp_path / "s"]).read_text()
    assert "<h1>optimizer.lr=0.01,0.02,0.03,0.04,…,0.12: s</h1>" in text
    assert len(table(tmp_path / "s").rows) == 12


def test_several_sweeps_stand_in_one_report(tmp_path: Path) -> None:
    for neuron in ("if", "lif"):
        write_grid(tmp_path / neuron, {"neuron__name": [neuron], "T": [2, 4]})
    file = write_report([tmp_path / "if", tmp_path / "lif"], svg=True)
    assert file == tmp_path / "report.html"
    text = file.read_text()
    assert "<h1>neuron=if,lif: if, lif</h1>" in text and "if, lif: digits, digits_cnn" in text
    assert len(list(csv.DictReader((tmp_path / "results.csv").open()))) == 8


def test_what_is_asked_for_is_compared_in_all_files(tmp_path: Path) -> None:
    write_grid(tmp_path, {"T": [2, 4], "optimizer__lr": [0.1, 0.2]})
    text = write_report([tmp_path], svg=True, compare="T", base="4", x="optimizer.lr").read_text()
    assert "<h1>T=4,2" in text and 'id="figure-accuracy-optimizer.lr"' in text
    assert "to T=4, over pairs of equal seed" in (tmp_path / "table.md").read_text()
    assert list((tmp_path / "figures").glob("accuracy-optimizer.lr-*"))


@pytest.mark.browser
def test_facets_with_and_without_a_place_on_the_axis_can_be_chosen(tmp_path: Path) -> None:
    """The slope is a key of some neurons alone: the choice of a place shows where there is one."""
    for slope in (1.0, 2.0):
        for mode in ("bptt", "rate"):
            write_run(tmp_path, grad_mode=mode, neuron__name="lif", neuron__slope=slope, seed=0)
            write_run(tmp_path, grad_mode=mode, neuron__name="lif", neuron__slope=slope, seed=1)
    for mode in ("bptt", "rate"):
        write_run(tmp_path, grad_mode=mode, neuron__name="if")
    with opened(write_report([tmp_path])) as seen:
        page = seen.page
        assert page.locator("#steps").is_visible() and page.locator("#steps").input_value() == "2"
        page.select_option("#family", "1")
        assert not page.locator("#steps").is_visible() and page.locator("#figure-epochs").is_visible()
        page.select_option("#family", "0")
        assert page.locator("#steps").is_visible() and seen.messages == []


def test_a_page_of_hundreds_of_facets_is_bounded(tmp_path: Path) -> None:
    for n in range(200):
        for mode in ("bptt", "rate"):
            write_run(tmp_path, grad_mode=mode, optimizer__lr=0.1, neuron__note=f"n{n}")
    text = write_report([tmp_path]).read_text()
    assert len(text) < 6_000_000
    shown = re.search(r"it has the figures of (\d+) of 200 comparisons", text)
    assert shown is None or int(shown[1]) < 200
    assert len(table(tmp_path).rows) == 400
