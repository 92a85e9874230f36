"""The table and the runs as text that other programs read: every number is the one in result.json."""

import csv
import io
import json
import re
import shutil
import subprocess
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
    assert len(rows) == 6 and len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "<script>" not in text and "a\\|b\\_&lt;script>" in text
    assert rows[2].startswith("| 2 | bptt | 90.84 ± 0.79 (n=2) |")  # 0.9 + 2/700 and 1/90 more


def test_markdown_makes_nothing_of_what_names_hold(tmp_path: Path) -> None:
    for odd in ("![i](http://e/x.png)", "~~x~~", "$x$", "a\\|b"):
        write_run(tmp_path, grad_mode="rate", neuron__name=odd)
    write_report([tmp_path])
    text = (tmp_path / "table.md").read_text()
    assert "![i]" not in text  # nor below the table, which names the base
    for escaped in ("\\!\\[i](http://e/x.png)", "\\~\\~x\\~\\~", "\\$x\\$", "a\\\\\\|b"):
        assert escaped in text


def test_csv_tells_methods_with_other_segments_apart(tmp_path: Path) -> None:
    for segments, coupled in ((1, True), (4, True), (4, False)):
        write_run(tmp_path / "s", grad_mode__segments=segments, grad_mode__coupled=coupled)
    write_report([tmp_path / "s"], tmp_path)
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    told = {(row["grad_mode"], row["grad_mode.segments"], row["grad_mode.coupled"]) for row in rows}
    assert told == {("rate", "1", "True"), ("rate", "4", "True"), ("rate", "4", "False")}


def test_text_in_csv_is_no_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    write_run(tmp_path, None, "failed", '=HYPERLINK("http://e","x")', grad_mode="rate", neuron__name="@x")
    write_run(tmp_path, 0.9, grad_mode="rate", neuron__v_reset=-0.5)
    write_report([tmp_path])
    rows = {row["state"]: row for row in csv.DictReader((tmp_path / "results.csv").open())}
    assert rows["failed"]["error"].startswith("'=HYPER") and rows["failed"]["neuron"] == "'@x"
    assert rows["done"]["neuron.v_reset"] == "-0.5"


def test_latex_has_no_bare_special_character(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    write_report([tmp_path / "s"], tmp_path)
    text = (tmp_path / "table.tex").read_text()
    body = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert len(body) == 6  # two rows of titles, and each T in both modes
    assert len({_columns(line) for line in body}) == 1
    assert not re.search(r"(?<!\\)[%#_]|[–−±]", "".join(body)) and "grad\\_mode" in text
    comments = [line for line in text.splitlines() if ODD in line]
    assert len(comments) == 1 and comments[0].startswith("% ")


def _columns(line: str) -> int:
    spans = [int(span) - 1 for span in re.findall(r"multicolumn{(\d+)}", line)]
    return len(re.findall(r"(?<!\\)&", line)) + sum(spans)


def test_latex_groups_columns_and_aligns_numbers_at_their_points(tmp_path: Path) -> None:
    for mode, seconds in (("bptt", 1.2345), ("rate", 0.012)):
        for seed in (0, 1):
            write_run(tmp_path, 0.9, grad_mode=mode, seed=seed, seconds=seconds, memory=3.5 * 2**20)
    write_report([tmp_path])
    lines = (tmp_path / "table.tex").read_text().splitlines()
    assert lines[0] == r"% \usepackage{booktabs,siunitx}"
    # 1,234 and 12.0 ms; ratios 0.01; 3.50 MiB; ratios 1.00; firing rates 0.150
    numbers = "".join(f"S[table-format={form}]" for form in ("4.1", "1.2", "1.2", "1.2", "1.3"))
    assert rf"\begin{{tabular}}{{lrr{numbers}}}" in lines
    groups = lines[lines.index(r"\toprule") + 1]
    assert groups.count(r"\multicolumn{2}{c}") == 3 and r"\multicolumn{1}{c}{firing rate}" in groups
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5} \cmidrule(lr){6-7}" in lines
    rows = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert [row.split(" & ")[3:] for row in rows] == [
        ["1234", "{--}", "3.50", "{--}", r"0.150 \\"],
        ["12.0", "0.01", "3.50", "1.00", r"0.150 \\"],
    ]


def test_a_row_of_latex_does_not_begin_as_an_option_of_the_row_before(tmp_path: Path) -> None:
    for sizes in ("[8,16]", "[16,32]"):
        write_run(tmp_path, arch__sizes=sizes)
    write_report([tmp_path])
    rows = [line for line in (tmp_path / "table.tex").read_text().splitlines() if "(n=" in line]
    assert len(rows) == 2 and all(row.startswith("{[") for row in rows)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex with booktabs and siunitx")
def test_latex_compiles(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    for lr in (1e-5, 0.05):
        write_run(tmp_path / "s", 0.8, neuron__name=ODD, optimizer__lr=lr)
    write_report([tmp_path / "s"], tmp_path)
    packages = r"\documentclass{article}\usepackage{booktabs,siunitx}"
    text = rf"{packages}\begin{{document}}\input{{table}}\end{{document}}"
    (tmp_path / "paper.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("odd", ["a\r\rb", "a\x0bb", "a\u2028b", "a\n\nb", "a\x07b", "a\tb"])
def test_latex_has_no_line_more_than_rows(tmp_path: Path, odd: str) -> None:
    """Neither in a cell nor in a note, whose comment would end and leave the rest in the table."""
    write_run(tmp_path, grad_mode="bptt")
    write_run(tmp_path, None, "failed", odd, grad_mode="rate", neuron__name=odd)
    write_report([tmp_path])
    text = (tmp_path / "table.tex").read_bytes().decode()  # as it is: read_text takes \r for \n
    assert all(char.isprintable() for char in text if char != "\n")
    rows = text[text.index("\\midrule") : text.index("\\bottomrule")].split("\n")[1:-1]
    assert len(rows) == 2 and all(row.endswith("\\\\") for row in rows)


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
    write_report([tmp_path], svg=True, compare="T", x="T")
    names = [file.name for file in (tmp_path / "figures").iterdir()]
    assert len(names) == 7 * (len(keys) + 2) and max(map(len, names)) < 160


def test_figures_as_svg_hold_their_titles_and_a_colour_a_mode(tmp_path: Path) -> None:
    grid(tmp_path / "s")
    write_report([tmp_path / "s"], tmp_path / "out", svg=True)
    files = {file.name: file.read_text() for file in (tmp_path / "out" / "figures").iterdir()}
    steps = ("epochs", "loss", "firing")
    what = "digits-digits_cnn-step_mode=m"
    of_both_T = {f"{name}-{what}-T={T}.svg" for name in steps for T in (2, 4)}
    family = {f"{name}-{what}.svg" for name in ("accuracy-T", "time-T", "memory-T", "cost")}
    assert files.keys() == of_both_T | family
    for text in files.values():
        ElementTree.fromstring(text)
        assert "digits, digits_cnn, step_mode=m" in text and "#D55E00" in text and "#0072B2" in text
    write_report([tmp_path / "s"], tmp_path / "again", svg=True)
    again = {file.name: file.read_text() for file in (tmp_path / "again" / "figures").iterdir()}
    assert again == files
