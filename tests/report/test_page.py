"""report.html in a real browser: no errors, no requests, the numbers of result.json, escaped names."""

import json
import statistics
from pathlib import Path
from typing import Any

import plotly.graph_objects
import pytest

from rbp.cli import main
from rbp.report import write_report
from rbp.report.compare import compare
from rbp.report.figures.plotly import plotly as as_plotly
from rbp.report.figures.series import families
from rbp.report.page import FAMILY_FIGURES, STEP_FIGURES
from rbp.report.read import read_runs
from tests.support.browser import LAPTOP, PHONE, opened
from tests.support.run_folders import write_run

ODD = '</script><script>document.title="pwned"</script><img src=x onerror=alert(1)>'


def grid(folder: Path) -> None:
    """Two T in both modes with three seeds, one run failed and one on its way; a second step mode."""
    for T in (2, 4):
        for seed in range(3):
            for mode, gain in (("bptt", 0.0), ("rate", 0.01)):
                if (T, seed, mode) != (4, 2, "rate"):
                    accuracy, seconds = 0.90 + 0.011 * seed + gain * T, 0.05 * T if mode == "bptt" else 0.05
                    write_run(folder, accuracy, grad_mode=mode, T=T, seed=seed, seconds=seconds)
    write_run(folder, None, "failed", ODD, grad_mode="rate", T=4, seed=2)
    write_run(folder, None, "running", grad_mode="rate", step_mode="s")


def cells(page: Any) -> list[list[str]]:
    rows = page.locator("#headline tbody tr:has(td.figure)")
    return [rows.nth(i).locator("td").all_text_contents() for i in range(rows.count())]


@pytest.mark.browser
def test_the_page_renders_without_errors_requests_or_markup_from_names(tmp_path: Path) -> None:
    folder = tmp_path / "<script>alert(1)<!--"
    grid(folder)
    file = write_report([folder], tmp_path / "out")
    with opened(file) as seen:
        assert seen.messages == [] and seen.requests == [file.absolute().as_uri()]
        assert seen.page.title() == "BPTT and Rate-BP: <script>alert(1)<!--"
        assert seen.page.locator("img").count() == 0 and seen.page.locator("script").count() == 3
        assert ODD in seen.page.locator("#unfinished").inner_text()
        assert "<script>alert(1)<!--" in seen.page.locator("h3").all_inner_texts()


@pytest.mark.browser
def test_the_table_shows_the_numbers_of_result_json(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    results = [json.loads(file.read_text()) for file in (tmp_path / "s").glob("*/result.json")]
    with opened(write_report([tmp_path / "s"])) as seen:
        shown = cells(seen.page)
    assert [row[:4] for row in shown] == [["digits", "digits_cnn", *end] for end in ("2m", "4m", "4s")]
    for row, T in zip(shown, (2, 4), strict=False):
        for place, mode in ((4, "bptt"), (5, "rate")):
            of = [r["test_acc"] for r in results if (r["config"]["T"], r["config"]["grad_mode"]) == (T, mode)]
            mean, std = 100 * statistics.mean(of), 100 * statistics.stdev(of)
            assert row[place] == f"{mean:.2f} ± {std:.2f} (n={len(of)})"
    assert shown[0][7:10] == ["100", "50.0", "0.50"] and shown[1][7:10] == ["200", "50.0", "0.25"]
    assert shown[2][4:] == ["–"] * 9


@pytest.mark.browser
def test_figures_follow_the_choice_and_say_which_run_a_point_is(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    with opened(write_report([tmp_path / "s"])) as seen:
        page = seen.page
        assert page.locator("#steps").input_value() == "4"
        assert page.locator(".plot .main-svg").count() == 3 * 6  # three layers a figure
        curves = "document.querySelector('#figure-epochs .plot').data"
        names = page.evaluate(f"{curves}.map(trace => trace.hovertemplate || '').join()")
        assert "T4-m-rate-s2" in names and "(failed)" in names and "T2-m" not in names
        page.select_option("#steps", "2")
        assert "T2-m-rate-s2" in page.evaluate(f"{curves}.map(trace => trace.hovertemplate || '').join()")
        told = page.evaluate("document.querySelector('#figure-time-T .plot').data.map(t => t.text).flat()")
        assert any("T2-m-bptt-s0" in text for text in told)
        page.select_option("#family", label="digits, digits_cnn, step mode s")
        assert page.locator("#figure-epochs").is_visible() and page.locator("#figure-time-T").is_hidden()
        assert seen.messages == []


@pytest.mark.browser
@pytest.mark.parametrize("size", [LAPTOP, PHONE])
def test_nothing_is_wider_than_the_screen(tmp_path: Path, size: tuple[int, int]) -> None:
    grid(tmp_path / "a sweep with a long name that has to be broken somewhere on a phone-or-elsewhere_or_not")
    with opened(write_report([tmp_path]), size) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") == size[0]
        widths = seen.page.evaluate("[...document.querySelectorAll('.plot')].map(p => p.clientWidth)")
        assert all(0.4 * min(size[0], 700) < width <= size[0] for width in widths)
        if size == PHONE:
            assert seen.page.locator("#headline td.figure").first.bounding_box()["width"] <= size[0]
        else:  # the whole table is seen without scrolling
            box = seen.page.locator("#headline").bounding_box()
            assert box["x"] + box["width"] <= size[0]


def test_every_figure_is_one_that_plotly_knows(tmp_path: Path) -> None:
    """plotly's own classes refuse a name or value that there is not."""
    grid(tmp_path)
    for family in families(compare(read_runs([tmp_path])[0])).values():
        figures = [make(family) for make in FAMILY_FIGURES]
        figures += [make(member) for member in family for make in STEP_FIGURES]
        for figure in figures:
            made = as_plotly(figure)
            plotly.graph_objects.Figure(data=made["data"], layout=made["layout"])


def test_bands_are_one_standard_deviation_over_seeds(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.90, 0.92, 0.97)):
        write_run(tmp_path, accuracy, grad_mode="rate", seed=seed, curve=(0.1, 0.2 + seed / 10))
    (comparison,) = compare(read_runs([tmp_path])[0])
    figure = STEP_FIGURES[0](comparison)
    (mean,) = [series for series in figure.series if series.look == "mean"]
    assert list(mean.x) == [1, 2, 3] and mean.y == pytest.approx([10, 30, 93])
    assert mean.high == pytest.approx([10, 40, 93 + 13**0.5])  # deviations 10 and sqrt((9 + 1 + 16) / 2)


def test_the_command_says_where_the_report_is_or_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid(tmp_path / "s")
    assert main(["report", str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out == f"Report: {tmp_path / 's' / 'report.html'}\n"
    assert main(["report", str(tmp_path / "s"), "--out", "/dev/null/x"]) == 2
    assert "--out PATH" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nothing")]) == 2


def test_a_legend_says_what_tells_machines_apart_in_lines_that_fit_a_phone(tmp_path: Path) -> None:
    long = "A GPU with a name that is longer than a phone is wide"
    for device in ("AMD EPYC", long):
        write_run(tmp_path / device[:3], grad_mode="rate", seed=len(device), machine={"device": device})
    (family,) = families(compare(read_runs([tmp_path])[0])).values()
    names = {trace["name"] for trace in as_plotly(FAMILY_FIGURES[1](family))["data"]}
    assert {name.replace("<br>", " ") for name in names} == {"Rate-BP, AMD EPYC", f"Rate-BP, {long}"}
    assert max(len(line) for name in names for line in name.split("<br>")) <= 36


def test_firing_rates_have_short_names_and_no_bar_below_zero(tmp_path: Path) -> None:
    for seed, rate in enumerate((0.0, 0.1)):
        file = write_run(tmp_path, 0.9, grad_mode="rate", seed=seed) / "result.json"
        rates = {"layer1.0.neuron": rate, "layer2.neuron": 0.2}
        file.write_text(json.dumps(json.loads(file.read_text()) | {"firing_rates": rates}))
    (comparison,) = compare(read_runs([tmp_path])[0])
    (bars,) = as_plotly(STEP_FIGURES[1](comparison))["data"]
    assert bars["x"] == ["layer1.0", "layer2"] and bars["y"] == [0.05, 0.2]
    assert bars["error_y"]["arrayminus"] == [0.05, 0.0]  # the deviation is 0.0707
    assert bars["error_y"]["array"] == pytest.approx([0.0707107, 0.0])
    assert bars["text"][0].startswith("layer1.0.neuron")


def test_epochs_of_short_runs_are_whole_and_equal_curves_both_seen(tmp_path: Path) -> None:
    for mode in ("bptt", "rate"):
        write_run(tmp_path, 0.9, grad_mode=mode)
    (comparison,) = compare(read_runs([tmp_path])[0])
    made = as_plotly(STEP_FIGURES[0](comparison))
    assert made["layout"]["xaxis"]["dtick"] == 1
    last, under = made["data"][-1], made["data"][1]
    assert (under["name"], under["line"]["dash"]) == ("BPTT (n=1)", "solid")
    assert (last["name"], last["line"]["dash"]) == ("Rate-BP (n=1)", "dash")
