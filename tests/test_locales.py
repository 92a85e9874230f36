"""Files are UTF-8 whatever the locale, and what a locale cannot show does not end the program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rbp.config.composition.places import ROOT

# Python's own ways to use UTF-8 nevertheless are off, and each file that is opened in another encoding is
# told.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONWARNDEFAULTENCODING": "1"}
SWEEP = """\
about: "Größe ±"
fixed: {trainer: debug, tracker: none, trainer.threads: 1, tracker.tags: [größe]}
grid: {seed: [0]}
"""


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "rbp", *words]
    environment = os.environ | ASCII | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=cwd, capture_output=True, env=environment, timeout=240)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    ours = [line for line in done.stderr.splitlines() if b"EncodingWarning" in line and b"/rbp/" in line]
    assert not ours
    return done


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["inline", "local"])
def test_a_sweep_with_other_letters_runs_and_is_reported(tmp_path: Path, launcher: str) -> None:
    (tmp_path / "mine.yaml").write_text(SWEEP, encoding="utf-8")
    assert b"Report: " in run("train", "sweeps=mine.yaml", f"hydra/launcher={launcher}", cwd=tmp_path).stdout
    assert "Größe ±" in (tmp_path / "runs/mine/report.html").read_text(encoding="utf-8")
    (config,) = tmp_path.glob("runs/mine/*/config.yaml")
    assert "größe" in config.read_text(encoding="utf-8")
    assert b"1 run: 1 done" in run("status", "runs/mine", cwd=tmp_path).stdout
    assert run("report", "runs/mine", cwd=tmp_path).stdout


def test_help_is_shown(tmp_path: Path) -> None:
    assert b"optimizer.lr" in run("train", "--help", cwd=tmp_path).stdout
