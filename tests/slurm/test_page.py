"""What the page on clusters tells to type, on a real Slurm: its launcher file, its command."""

import subprocess
import sys
from pathlib import Path

import pytest

from docs.tools.blocks import blocks
from rbp.config.composition.places import ROOT
from tests.slurm.cluster import Cluster
from tests.support.run_folders import results

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

# The page's launcher asks for another partition, and a whole GPU and four cores for each job.
HERE = ("partition=debug", "gpus=0", "cpus=1")
SHORT = ("trainer=debug", "trainer.device=cpu", "trainer.threads=1", "tracker=none")


def test_the_pages_launcher_file_submits_the_pages_sweep(cluster: Cluster, here: Path) -> None:
    page = blocks((ROOT / "docs" / "cluster.md").read_text("utf-8"))
    (file,) = (block for block in page if block.has("file"))
    (name,) = file.values("file")
    Path(name).parent.mkdir(parents=True)
    Path(name).write_text(file.code + "\n")
    (command,) = {
        line.partition(" #")[0].strip()
        for block in page
        for line in block.code.splitlines()
        if line.startswith("rbp train sweeps=quickstart hydra/launcher=mycluster  ") and "wait" not in line
    }
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), *SHORT, *(f"hydra.launcher.{value}" for value in HERE)],
        env=cluster.env | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Report: runs/quickstart/report.html" in done.stdout and len(results("quickstart")) == 4
