"""The examples are run as they stand."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rbp.config.composition.places import ROOT
from tests.support.run_folders import results

EXAMPLES = ROOT / "examples"


def python(*words: str, cwd: Path) -> str:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
def test_the_training_loop_learns_digits(grad_mode: str, tmp_path: Path) -> None:
    told = python(str(EXAMPLES / "training_loop.py"), grad_mode, cwd=tmp_path)
    assert float(told.splitlines()[-1].split()[-1].rstrip("%")) > 90


def test_the_training_loop_is_twenty_lines() -> None:
    code = (EXAMPLES / "training_loop.py").read_text("utf-8")
    assert len(code[code.index("torch.manual_seed") :].splitlines()) <= 22


@pytest.mark.slow
def test_the_lab_trains_its_own_network_on_its_own_data(here: Path) -> None:
    lab = Path(shutil.copytree(EXAMPLES / "lab", here / "lab"))
    told = python("-m", "rbp", "train", "sweeps=stripes", cwd=lab)
    assert "Report: runs/stripes/report.html" in told
    os.chdir(lab)
    found = results("stripes")
    assert len(found) == 4 and all(result["test_acc"] > 0.9 for result in found)
    assert {result["config"]["arch"] for result in found} == {"small"}
