"""Accuracy over what a step costs in memory, for the dial: the 300 runs of results/dial."""

import csv
import statistics
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from docs.pictures.schemes import FOLDER, write_figures
from rbp.report.figures.figure import Axis, Figure, Series

RESULTS = FOLDER.parents[1] / "results" / "dial" / "results.csv"
SETS = {"direction": "Which way does the digit go?", "which_digit": "Which digit is it?"}
Row = dict[str, str]


def make() -> None:
    """Draw the figure."""
    write_figures("dial", [_figure(name, title) for name, title in SETS.items()])


def _figure(name: str, title: str) -> Figure:
    with Path(RESULTS).open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == name and row["neuron.tau"] == "2.0"]
    series = [
        _series(
            rows, "bptt", "BPTT, frames merged to 2, 4, not merged", lambda r: r["grad_mode"] == "bptt", "T"
        ),
        _series(rows, "uncoupled", "2, 4, 8 segments, uncoupled", _of("False"), "segments"),
        _series(rows, "rate", "Rate-BP, and 2, 4, 8 segments", _of("True"), "segments"),
    ]
    return Figure(
        name,
        title,
        Axis("memory of a training step (MiB)", log=True),
        Axis("test accuracy (%)"),
        "",
        series,
        f"{name}, T=8, leak 0.5; mean and standard deviation of 5 seeds",
    )


def _by_bptt(row: Row) -> bool:
    return row["grad_mode"] == "bptt"


def _of(coupled: str) -> Callable[[Row], bool]:
    return lambda row: row["grad_mode"] == "rate" and row["coupled"] == coupled


def _series(rows: list[Row], mode: str, label: str, chosen: Callable[[Row], bool], by: str) -> Series:
    """Return a line with a point for each value of a column: mean accuracy over mean memory."""
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in filter(chosen, rows):
        groups[int(row[by])].append(row)
    points = sorted(_point(group, f"{by}={value}") for value, group in groups.items())
    x, y, deviation, labels = zip(*points, strict=True)
    low = [mean - spread for mean, spread in zip(y, deviation, strict=True)]
    high = [min(100.0, mean + spread) for mean, spread in zip(y, deviation, strict=True)]
    return Series(mode, label, "mean", x, y, low, high, labels)


def _point(rows: list[Row], label: str) -> tuple[float, float, float, str]:
    accuracy = [100 * float(row["test_acc"]) for row in rows]
    memory = statistics.fmean(float(row["peak_memory_bytes"]) for row in rows) / 2**20
    return memory, statistics.fmean(accuracy), statistics.stdev(accuracy), label
