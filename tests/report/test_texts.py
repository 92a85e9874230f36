"""The table and the runs as text that other programs read: every number is the one in result.json."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from rbp.report import write_report
from tests.support.run_folders import write_run

ODD = "a|b_<script>&$ 50%"


def grid(folder: Path, seeds: int = 2) -> list[Path]:
    """Both gradient modes at two T, and a run that failed."""
    folders = [
        write_run(folder, 0.9 + seed / 90 + T / 700, grad_mode=mode, T=T, seed=seed, seconds=0.0123456 * T)
        for mode in ("bptt", "rate")
        for T in (2, 4)
        for seed in range(seeds)
    ]
    failed = write_run(folder, None, "failed", f"{ODD} is no number", grad_mode="rate", T=4, seed=9)
    return [*folders, failed]


def test_csv_has_a_row_a_run_with_the_numbers_of_result_json(tmp_path: Path) -> None:
    folders = grid(tmp_path / "s")
    write_report([tmp_path / "s"], tmp_path / "out")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "results.csv").read_text())))
    assert {row["folder"] for row in rows} == {str(folder.resolve()) for folder in folders}
    for row in rows:
        if row["state"] != "done":
            assert (
                row["state"] == "failed" and row["error"] == f"{ODD} is no number" and row["test_acc"] == ""
            )
            continue
        result = json.loads((Path(row["folder"]) / "result.json").read_text())
        for key in ("test_acc", "best_test_acc", "step_seconds", "peak_memory_bytes", "seconds"):
            assert float(row[key]) == result[key]
        assert row["device"] == result["machine"]["device"] and row["optimizer.lr"] == "0.1"


def test_markdown_is_one_table_whatever_names_hold(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    write_report([tmp_path / "s"], tmp_path)
    text = (tmp_path / "table.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "<script>" not in text and "a\\|b\\_&lt;script>" in text
    assert "| 90.84 ± 0.79 (n=2) |" in rows[2]  # T=2: 0.9 + 2/700 and 1/90 more


def test_markdown_makes_nothing_of_what_names_hold(tmp_path: Path) -> None:
    for odd in ("![i](http://e/x.png)", "~~x~~", "$x$", "a\\|b"):
        write_run(tmp_path, grad_mode="rate", neuron__name=odd)
    write_report([tmp_path])
    text = (tmp_path / "table.md").read_text()
    for escaped in ("\\!\\[i](http://e/x.png)", "\\~\\~x\\~\\~", "\\$x\\$", "a\\\\\\|b"):
        assert escaped in text


def test_csv_tells_methods_with_other_segments_apart(tmp_path: Path) -> None:
    for segments, coupled in ((1, True), (4, True), (4, False)):
        write_run(tmp_path / "s", grad_mode__segments=segments, grad_mode__coupled=coupled)
    write_report([tmp_path / "s"], tmp_path)
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    told = {(row["grad_mode"], row["segments"], row["coupled"]) for row in rows}
    assert told == {("rate", "1", "True"), ("rate", "4", "True"), ("rate", "4", "False")}


def test_text_in_csv_is_no_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    write_run(tmp_path, None, "failed", '=HYPERLINK("http://e","x")', grad_mode="rate", neuron__name="@x")
    write_run(tmp_path, 0.9, grad_mode="rate", neuron__v_reset=-0.5)
    write_report([tmp_path])
    rows = {row["state"]: row for row in csv.DictReader((tmp_path / "results.csv").open())}
    assert rows["failed"]["error"].startswith("'=HYPER") and rows["failed"]["neuron.name"] == "'@x"
    assert rows["done"]["neuron.v_reset"] == "-0.5"


def test_latex_has_no_bare_special_character(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    write_report([tmp_path / "s"], tmp_path)
    text = (tmp_path / "table.tex").read_text()
    body = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert len(body) == 3  # the titles, T=2, T=4
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in body}) == 1
    assert not re.search(r"(?<!\\)[%#_]|[–−±]", "".join(body)) and "digits\\_cnn" in text
    comments = [line for line in text.splitlines() if ODD in line]
    assert len(comments) == 1 and comments[0].startswith("% ")


@pytest.mark.slow
def test_every_figure_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Six keys that differ make names longer than a file's may be; `a|b` and `a-b` differ by a sign."""
    keys: dict[str, Any] = {
        "optimizer__weight_decay": 1.23456e-4,
        "optimizer__momentum": 0.95,
        "dataset__val_split": 0.123,
        "neuron__alpha": 3.3333,
        "optimizer__schedule": "constant",
        "neuron__tau": 3.25,
    }
    for key, value in keys.items():
        for T in (2, 4):
            write_run(tmp_path, grad_mode="rate", T=T, **{key: value})
    for arch in ("a|b", "a-b"):
        write_run(tmp_path, grad_mode="rate", arch__name=arch)
    write_report([tmp_path], svg=True)
    names = [file.name for file in (tmp_path / "figures").iterdir()]
    families, steps = len(keys) + 2, 2 * len(keys) + 2
    assert len(names) == 4 * families + 3 * steps and max(map(len, names)) < 140


def test_figures_as_svg_hold_their_titles_and_a_colour_a_mode(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    write_report([tmp_path / "s"], tmp_path / "out", svg=True)
    files = {file.name: file.read_text() for file in (tmp_path / "out" / "figures").iterdir()}
    steps = ("epochs", "loss", "firing")
    of_both_T = {f"{name}-digits-digits_cnn-m-T={T}.svg" for name in steps for T in (2, 4)}
    family = {f"{name}-digits-digits_cnn-m.svg" for name in ("accuracy-T", "time-T", "memory-T", "cost")}
    assert files.keys() == of_both_T | family
    for text in files.values():
        ElementTree.fromstring(text)
        assert "digits, digits_cnn, step mode m" in text and "#D55E00" in text and "#0072B2" in text
    write_report([tmp_path / "s"], tmp_path / "again", svg=True)
    again = {file.name: file.read_text() for file in (tmp_path / "again" / "figures").iterdir()}
    assert again == files
