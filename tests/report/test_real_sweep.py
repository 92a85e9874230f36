"""The report at the end of a sweep that really ran: its record, and what its runs wrote."""

import csv
import html
import json
import statistics
from pathlib import Path

import pytest

from rbp.sweep.launch import main
from tests.support.training import SHORT

MODES = ("bptt", "rate")


@pytest.mark.usefixtures("here", "one_thread")
def test_a_sweep_ends_with_a_report_of_its_own_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", *SHORT, "sweep.name=pair", "grad_mode=bptt,rate", "seed=0,1"]) == 0
    sweep = Path("runs", "pair")
    assert f"Report: {sweep / 'report.html'}" in capsys.readouterr().out
    results = [json.loads(file.read_text()) for file in sweep.glob("*/result.json")]
    accuracies: dict[str, list[float]] = {mode: [] for mode in MODES}
    for result in results:
        accuracies[result["config"]["grad_mode"]].append(result["test_acc"])
    with (sweep / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for mode in MODES:
        told = [float(row["test_acc"]) for row in rows if row["grad_mode"] == mode]
        assert sorted(told) == pytest.approx(sorted(accuracies[mode])) and len(told) == 2
    page = (sweep / "report.html").read_text()
    assert (sweep / ".sweep" / "sweep.yaml").read_text().strip() in html.unescape(page)
    for mode in MODES:
        assert f"{100 * statistics.mean(accuracies[mode]):.2f}" in page
