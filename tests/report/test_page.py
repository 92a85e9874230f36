"""report.html in a real browser: light, readable by all, no requests, and the numbers of result.json."""

import csv
import io
import json
import re
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from rbp.cli import main
from rbp.report import page as page_module
from rbp.report import paths, write_report
from tests.support.browser import LAPTOP, PHONE, as_printed, opened, printed, saved, violations
from tests.support.run_folders import write_run

ODD = '</script><script>document.title="pwned"</script><img src=x onerror=alert(1)>'
A4 = (595, 842)  # points
EACH = {"seconds": 2.5, "test_loss": 0.5}  # in every epoch's line, as the trainer has it


def grid(folder: Path) -> None:
    """Two T in both modes with three seeds, one run failed and one on its way; a second step mode."""
    for T in (2, 4):
        for seed in range(3):
            for mode, gain in (("bptt", 0.0), ("rate", 0.01)):
                if (T, seed, mode) != (4, 2, "rate"):
                    accuracy, seconds = 0.90 + 0.011 * seed + gain * T, 0.05 * T if mode == "bptt" else 0.05
                    write_run(folder, accuracy, grad_mode=mode, T=T, seed=seed, seconds=seconds, each=EACH)
    write_run(folder, None, "failed", ODD, grad_mode="rate", T=4, seed=2)
    write_run(folder, None, "running", grad_mode="rate", step_mode="s")


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*/result.json"))]


def cells(page: Any) -> list[list[str]]:
    rows = page.locator("#headline tbody tr:has(td.figure)")
    return [rows.nth(i).locator("td").all_text_contents() for i in range(rows.count())]


def told(page: Any, figure: str) -> list[str]:
    """What a figure tells on hover."""
    return list(page.locator(f"#figure-{figure} title").all_text_contents())


@pytest.mark.browser
def test_the_page_renders_without_errors_requests_or_markup_from_names(tmp_path: Path) -> None:
    folder = tmp_path / "<script>alert(1)<!--"
    grid(folder)
    file = write_report([folder], tmp_path / "out")
    with opened(file) as seen:
        assert seen.messages == [] and seen.requests == [file.absolute().as_uri()]
        assert seen.page.title() == "BPTT and Rate-BP: <script>alert(1)<!--"
        assert seen.page.locator("img").count() == 0
        assert seen.page.locator("script:not([type='application/json'])").count() == 1
        assert ODD in seen.page.locator("#unfinished").inner_text()
        assert "<script>alert(1)<!--" in seen.page.locator("h3").all_inner_texts()
        shown = seen.page.locator("#figure-epochs text").all_text_contents()
        assert shown[1] == "<script>alert(1)<!--: digits, digits_cnn, step_mode=m, T=4"


@pytest.mark.browser
def test_the_table_shows_the_numbers_of_result_json(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    with opened(write_report([tmp_path / "s"])) as seen:
        shown = cells(seen.page)
    places = [(T, mode) for T in (2, 4) for mode in ("bptt", "rate")]
    assert [row[:3] for row in shown] == [*(["m", str(T), mode] for T, mode in places), ["s", "4", "rate"]]
    for row, place in zip(shown, places, strict=False):
        found = [(r["config"]["T"], r["config"]["grad_mode"], r["test_acc"]) for r in results(tmp_path / "s")]
        of = [accuracy for *at, accuracy in found if tuple(at) == place]
        mean, std = 100 * statistics.mean(of), 100 * statistics.stdev(of)
        assert row[3] == f"{mean:.2f} ± {std:.2f} (n={len(of)})"
    assert [row[5:7] for row in shown] == [
        ["100", "–"],
        ["50.0", "0.50"],
        ["200", "–"],
        ["50.0", "0.25"],
        ["–"] * 2,
    ]
    assert shown[4][3:] == ["–"] * 7


@pytest.mark.browser
def test_every_point_tells_the_number_of_its_result_json(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    with opened(write_report([tmp_path / "s"])) as seen:
        over_T, time_T, cost = (told(seen.page, name) for name in ("accuracy-T", "time-T", "cost"))
    found = results(tmp_path / "s")
    assert len(found) == 11
    for result in found:
        T, name = result["config"]["T"], result["name"]
        accuracy, milliseconds = f"{100 * result['test_acc']:.5g}", f"{1000 * result['step_seconds']:.5g}"
        assert sum(text.endswith(f"\nT {T}: {accuracy}, {name}") for text in over_T) == 1
        assert sum(text.endswith(f"\nT {T}: {milliseconds}, {name}") for text in time_T) == 1
        told_cost = f"\ntraining step {milliseconds}: {accuracy}, T={T}, {name}"
        assert sum(text.endswith(told_cost) for text in cost) == 1


@pytest.mark.browser
def test_figures_follow_the_choice_by_keyboard_alone(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    with opened(write_report([tmp_path / "s"])) as seen:
        page = seen.page
        assert page.locator("#steps").input_value() == "4" and page.locator("figure:visible").count() == 8
        names = "".join(told(page, "epochs"))
        assert "T4-m-rate-s2" in names and "(failed)" in names and "T2-m" not in names
        page.locator("#steps").focus()
        page.keyboard.press("ArrowUp")
        names = "".join(told(page, "epochs"))
        assert page.locator("#steps").input_value() == "2" and "T2-m-rate-s2" in names and "T4" not in names
        page.locator("#family").focus()
        page.keyboard.press("ArrowDown")
        assert page.locator("#family option:checked").inner_text() == "digits, digits_cnn, step_mode=s"
        assert page.locator("#figure-epochs").is_visible() and page.locator("#figure-time-T").count() == 0
        page.keyboard.press("ArrowUp")
        assert "T4-m-rate-s2" in "".join(told(page, "epochs")) and page.locator("figure:visible").count() == 8
        assert seen.messages == []


@pytest.mark.browser
def test_a_figure_is_saved_by_keyboard_as_the_svg_that_the_command_writes(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    file = write_report([tmp_path / "s"], svg=True)
    with opened(file) as seen:
        for figure in ("epochs", "accuracy-T", "firing"):
            seen.page.locator(f"#figure-{figure} button[data-save=svg]").focus()
            name, text = saved(seen.page, lambda: seen.page.keyboard.press("Enter"))
            written = (file.parent / "figures" / name).read_text()
            ElementTree.fromstring(text)
            assert ElementTree.canonicalize(text) == ElementTree.canonicalize(written)
        assert seen.requests[1:] == [url for url in seen.requests[1:] if url.startswith("blob:")]


@pytest.mark.browser
def test_a_figure_is_saved_by_keyboard_as_csv_with_its_points(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    for seed in range(3):
        write_run(tmp_path / "s", 0.9, grad_mode="rate", step_mode="s", seed=seed, neuron__name='=1+1,"x"')
    with opened(write_report([tmp_path / "s"])) as seen:
        seen.page.locator("#figure-accuracy-T button[data-save=csv]").focus()
        name, text = saved(seen.page, lambda: seen.page.keyboard.press("Space"))
        assert name.startswith("accuracy-T-digits-digits_cnn-neuron=lif-step_mode=m") and name.endswith(
            ".csv"
        )
    rows = list(csv.DictReader(io.StringIO(text)))
    points = {row["label"]: (float(row["x"]), float(row["y"])) for row in rows if row["look"] == "points"}
    done = [r for r in results(tmp_path / "s") if r["config"]["step_mode"] == "m"]
    assert points == {r["name"]: pytest.approx((r["config"]["T"], 100 * r["test_acc"])) for r in done}
    bptt = [row for row in rows if (row["series"], row["look"], row["x"]) == ("BPTT", "mean", "4")]
    # Accuracies 90.0, 91.1 and 92.2: mean 91.1, deviation 1.1.
    assert [float(bptt[0][key]) for key in ("y", "low", "high")] == pytest.approx([91.1, 90.0, 92.2])
    assert bptt[0]["label"] == "n=3"


@pytest.mark.browser
@pytest.mark.parametrize("size", [LAPTOP, PHONE])
def test_nothing_is_wider_than_the_screen(tmp_path: Path, size: tuple[int, int]) -> None:
    grid(tmp_path / "a sweep with a long name that has to be broken somewhere on a phone-or-elsewhere_or_not")
    with opened(write_report([tmp_path]), size) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") == size[0]
        widths = seen.page.evaluate("[...document.querySelectorAll('figure svg')].map(p => p.clientWidth)")
        assert len(widths) == 8 and all(0.4 * min(size[0], 700) < width <= size[0] for width in widths)
        if size == PHONE:
            assert seen.page.locator("#headline td.figure").first.bounding_box()["width"] <= size[0]
        else:  # the whole table is seen without scrolling
            box = seen.page.locator("#headline").bounding_box()
            assert box["x"] + box["width"] <= size[0]


@pytest.mark.browser
def test_what_a_line_is_of_stays_in_sight_where_the_table_is_wider_than_the_screen(tmp_path: Path) -> None:
    grid(tmp_path)
    with opened(write_report([tmp_path]), (660, 700)) as seen:
        box = seen.page.locator("#headline").evaluate_handle("table => table.parentElement")
        box.evaluate("box => { box.scrollLeft = 10000; }")
        assert box.evaluate("box => box.scrollLeft") > 50
        row = seen.page.locator("#headline tbody tr:has(td.figure)").first
        left = box.evaluate("box => box.getBoundingClientRect().left")
        places = [row.locator("td").nth(n).bounding_box() for n in range(3)]
        assert places[0]["x"] == pytest.approx(left, abs=1)
        for before, after in pairwise(places):
            assert after["x"] == pytest.approx(before["x"] + before["width"], abs=1)


@pytest.mark.browser
def test_a_page_of_twelve_runs_of_thirty_epochs_is_light(tmp_path: Path) -> None:
    curve = tuple(0.1 + 0.8 * n / 30 for n in range(29))
    for T in (2, 4):
        for seed in range(3):
            for mode in ("bptt", "rate"):
                each = {**EACH, "firing_rates": {f"layer{n}.neuron": 0.1 for n in range(18)}}
                write_run(tmp_path, 0.9 + seed / 90, grad_mode=mode, T=T, seed=seed, curve=curve, each=each)
    file = write_report([tmp_path])
    assert file.stat().st_size < 500_000
    with opened(file) as seen:
        assert any(text.startswith("epoch 30\n") for text in told(seen.page, "loss"))


@pytest.mark.browser
def test_a_page_is_dark_on_a_dark_screen_and_white_in_print(tmp_path: Path) -> None:
    grid(tmp_path)
    file = write_report([tmp_path])
    style = "([at, key]) => getComputedStyle(document.querySelector(at))[key]"
    places = (("body", "backgroundColor"), ("#figure-epochs .paper", "fill"), ("#figure-epochs svg", "color"))
    with opened(file) as seen:
        light = [seen.page.evaluate(style, place) for place in places]
    with opened(file, dark=True) as seen:
        dark = [seen.page.evaluate(style, place) for place in places]
        line = seen.page.evaluate(style, ("#figure-epochs .m2", "color"))
        seen.page.emulate_media(media="print", color_scheme="dark")
        assert [seen.page.evaluate(style, place) for place in places] == light
    assert light == ["rgb(255, 255, 255)"] * 2 + ["rgb(34, 34, 34)"]
    assert dark[0] == dark[1] == "rgb(22, 24, 28)" and dark[2] == "rgb(221, 221, 221)"
    assert line == "rgb(109, 183, 238)"


@pytest.mark.browser
def test_every_number_of_the_tables_is_in_the_printed_page(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    with opened(write_report([tmp_path / "s"])) as seen:
        page = seen.page
        page.select_option("#steps", "2")
        page.select_option("#family", index=0)
        rows = [as_printed(cell) for cell in page.locator("table td").all_text_contents()]
        text, sizes = printed(page)
    assert set(sizes) == {A4}
    assert len(rows) > 150 and "digits-digits_cnn-T4-m-rate-s2" in "".join(rows)
    assert [cell for cell in rows if cell not in text] == []
    for choice in ("Comparison digits, digits_cnn, step_mode=m", "Curves and firing rates at T = 2"):
        assert as_printed(choice) in text
    assert "Accuracyoverepochs" in text and "SaveasSVG" not in text


@pytest.mark.browser
def test_nothing_is_wider_than_a_sheet_of_paper(tmp_path: Path) -> None:
    grid(tmp_path)
    keys: dict[str, Any] = {
        "neuron__alpha": 3.3333,
        "optimizer__weight_decay": 1.23456e-4,
        "optimizer__schedule": "constant",
    }
    for mode in ("bptt", "rate"):
        write_run(tmp_path, 0.9, grad_mode=mode, seconds=123.4567, memory=2.0**40, **keys)
    with opened(write_report([tmp_path]), (703, 1000)) as seen:  # 186 mm: A4 without its margins
        seen.page.emulate_media(media="print")
        seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert seen.page.evaluate("document.documentElement.scrollWidth") == 703
        parts = seen.page.locator("table, td, pre, figure, h1, p, dd")
        rights = parts.evaluate_all("all => all.map(part => part.getBoundingClientRect().right)")
        wider = parts.evaluate_all(
            "all => all.filter(part => part.scrollWidth > part.clientWidth + 1).length"
        )
        assert max(rights) <= 703 and wider == 0


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(tmp_path: Path, dark: bool) -> None:
    grid(tmp_path)
    with opened(write_report([tmp_path]), (660, 700), dark=dark) as seen:  # where the table scrolls
        seen.page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        assert violations(seen.page) == []
        named = seen.page.locator("svg[role=img]").evaluate_all("all => all.map(svg => svg.ariaLabel)")
        assert len(set(named)) == 8 and all("digits, digits_cnn, step_mode=m" in name for name in named)


@pytest.mark.browser
def test_without_javascript_the_first_figures_show_and_nothing_that_does_not_work(tmp_path: Path) -> None:
    grid(tmp_path)
    with opened(write_report([tmp_path]), script=False) as seen:
        assert seen.page.locator("figure:visible").count() == 8
        assert seen.page.locator("button:visible, select:visible").count() == 0
        assert seen.page.locator("#chosen-steps").is_visible() and seen.page.locator("noscript").is_visible()


def test_before_the_first_epoch_the_page_says_that_there_is_nothing_to_draw(tmp_path: Path) -> None:
    write_run(tmp_path, None, "running", curve=())
    assert "there is nothing to draw" in write_report([tmp_path]).read_text()
    write_run(tmp_path, None, "running", seed=1)
    assert "there is nothing to draw" not in write_report([tmp_path]).read_text()


def test_a_page_that_would_be_heavy_has_the_largest_comparisons_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid(tmp_path)
    assert "To keep this page light" not in write_report([tmp_path]).read_text()
    monkeypatch.setattr(page_module, "FIGURES_SIZE", 1)
    text = write_report([tmp_path]).read_text()
    assert "it has the figures of 1 of 2 comparisons, those with the most runs, and not of 1 places" in text
    assert re.findall(r'<option value="\d" .*?>(.*?)</option>', text) == ["digits, digits_cnn, step_mode=m"]
    assert "step_mode=s" not in text.partition("<h2>Figures")[2]


def test_no_path_of_a_home_folder_is_in_page_or_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home" / "ann"
    monkeypatch.setenv("HOME", str(home))
    paths._homes.cache_clear()
    for sweep in ("a", "b"):
        write_run(home / "work" / sweep / "runs", grad_mode="rate")
    write_run(home / "work" / "a" / "runs", None, "failed", f"no such file: {home}/data/x.", grad_mode="bptt")
    (home / "work" / "a" / "runs" / "broken").mkdir()
    (home / "work" / "a" / "runs" / "broken" / "result.json").write_text("{}")
    for here, shown in (
        (tmp_path, "~/work/a/runs"),
        (Path("/"), "~/work/a/runs"),
        (home, "work/a/runs"),
    ):
        monkeypatch.chdir(here)
        report = write_report([home / "work"], tmp_path / "out")
        for file in (report, report.with_name("results.csv")):
            text = file.read_text()
            assert str(home) not in text and shown in text
        assert "~/data/x." in report.read_text()
    paths._homes.cache_clear()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/ann", "~"),
        ("/home/ann/a: no", "~/a: no"),
        ("file:///home/ann/a", "file://~/a"),
        ("in /home/ann.", "in ~."),
        ("/home/anna/a", "/home/anna/a"),
        ("/home/ann.old/a", "/home/ann.old/a"),
        ("/mnt/home/ann/a", "/mnt/home/ann/a"),
    ],
)
def test_only_the_home_folder_itself_is_shortened(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    paths._homes.cache_clear()
    assert paths.without_home(text) == shown
    paths._homes.cache_clear()


def test_the_command_says_where_the_report_is_or_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid(tmp_path / "s")
    assert main(["report", str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out == f"Report: {tmp_path / 's' / 'report.html'}\n"
    assert main(["report", str(tmp_path / "s"), "--out", "/dev/null/x"]) == 2
    assert "--out PATH" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nothing")]) == 2
