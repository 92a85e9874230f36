"""tests/gpu/day.sh, all of it, on a CPU: every part runs, and each leaves its results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rbp.check.finding import STATUSES
from rbp.runs.folder import find_runs
from rbp.runs.result import read_result
from tests.support.datasets import write_fashion_mnist

HERE = Path(__file__).parent


def day(out: Path, data: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable, "DATA": str(data), "OMP_NUM_THREADS": "1"} | more
    command = ["bash", str(HERE / "day.sh"), str(out), "--tiny"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=290)


@pytest.mark.slow
def test_the_whole_day_leaves_its_results(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path / "data", n_train=300, n_test=50, packed=True)
    done = day(tmp_path / "out", tmp_path / "data")
    told = done.stdout + (tmp_path / "out" / "check.txt").read_text()
    lines = (tmp_path / "out" / "day.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["check", "tests", "bench", "train", "report"], told
    # On cores that others use too, compiling may run past its limit; nothing else may.
    assert all(line.endswith("ok") for line in lines[1:]), told
    checks = json.loads((tmp_path / "out" / "check.json").read_text())["checks"]
    assert checks[0]["name"] == "engine, float32" and checks[0]["status"] == "ok"
    assert {check["status"] for check in checks} <= set(STATUSES) - {"wrong"}, told
    assert "SKIPPED" in (tmp_path / "out" / "tests.txt").read_text()
    tables = [json.loads(file.read_text()) for file in (tmp_path / "out" / "bench").glob("*-cpu.json")]
    assert {table["machine"]["precision"] for table in tables} == {"fp32", "bf16"}
    runs = find_runs([tmp_path / "out" / "runs"])
    assert len(runs) == 4 and all(read_result(run) for run in runs)  # whole seeds: 2 T, 2 gradient modes
    assert (tmp_path / "out" / "report" / "report.html").exists()
    assert list((tmp_path / "out" / "report" / "figures").glob("*.svg"))
    assert "torch" in (tmp_path / "out" / "machine.txt").read_text()


def test_a_part_that_fails_is_told_and_takes_no_other_with_it(tmp_path: Path) -> None:
    """An interpreter that fails at once: every part says so, and all have their turn."""
    (tmp_path / "python").write_text("#!/bin/sh\necho none of that >&2\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    done = day(tmp_path / "out", tmp_path, PYTHON=str(tmp_path / "python"))
    lines = (tmp_path / "out" / "day.txt").read_text().splitlines()
    assert done.returncode == 1 and len(lines) == 5
    assert all("failed with exit code" in line for line in lines)
    assert (tmp_path / "out" / "check.txt").read_text() == "none of that\n"


def test_without_a_folder_it_says_what_it_wants() -> None:
    done = subprocess.run(["bash", HERE / "day.sh"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == "usage: tests/gpu/day.sh OUT [--tiny]\n"


@pytest.mark.parametrize("script", sorted(HERE.glob("*.sh")), ids=lambda script: script.name)
def test_scripts_are_whole(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)


def test_the_limits_of_its_parts_are_nine_minutes_together() -> None:
    text = (HERE / "day.sh").read_text()
    limits = [line.split("(")[1].rstrip(")\n").split() for line in text.splitlines() if "limits=(" in line]
    tiny, whole = ([*map(int, line), 30] for line in limits)  # and the report's
    assert sum(whole) <= 540 and sum(tiny) <= 250
