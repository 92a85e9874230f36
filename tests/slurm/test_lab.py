"""A lab's own repository on a real Slurm: what waits in the queue runs the lab's code as it was submitted."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rbp.config.composition.places import ROOT
from tests.slurm.cluster import Cluster
from tests.slurm.project import ON_SLURM
from tests.support.labs import git, new_lab

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

CELLS = [
    "arch=ourlab_net",
    "neuron=ourlab_lif",
    "loss=ourlab_focal",
    "loss.gamma=2,1",
    "grad_mode=rate",
    "seed=0",
]
SHORT = ["trainer=debug", "trainer.device=cpu", "trainer.threads=1", "tracker=none"]


def rbp(lab: Path, cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    env = cluster.env | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "rbp", *words], cwd=lab, env=env, capture_output=True, text=True, timeout=400
    )


def results(lab: Path, runs_dir: str) -> dict[str, dict[str, Any]]:
    found = {
        file.parent.name: json.loads(file.read_text()) for file in lab.glob(f"{runs_dir}/*/*/result.json")
    }
    return dict(sorted(found.items()))


def test_a_grid_of_own_networks_neurons_and_losses_runs_as_it_was_submitted(
    cluster: Cluster, tmp_path: Path
) -> None:
    lab = new_lab(tmp_path / "ourlab", commit=True)
    head = git(lab, "rev-parse", "HEAD")
    here = rbp(lab, cluster, "train", "-m", *CELLS, *SHORT, "runs_dir=here")
    assert here.returncode == 0, here.stdout + here.stderr
    on_slurm = [word.replace("launcher=slurm", "launcher=mycluster") for word in ON_SLURM]
    with cluster.holding_jobs():
        submitted = rbp(lab, cluster, "train", "-m", *CELLS, *SHORT, *on_slurm, "wait=false")
        assert "2 submitted to mycluster." in submitted.stdout, submitted.stdout + submitted.stderr
        for name in ("nets", "losses"):
            (lab / "ourlab" / f"{name}.py").write_text("raise RuntimeError('edited while it was queued')\n")
        (lab / "conf" / "neuron" / "ourlab_lif.yaml").write_text("name: broken\n")
    cluster.wait_for(lambda: len(results(lab, "runs")) == 2, "both cells", 240)
    expected, found = results(lab, "here"), results(lab, "runs")
    assert found.keys() == expected.keys() and len(found) == 2
    for name, result in found.items():
        assert (result["test_acc"], result["train_loss"]) == (
            expected[name]["test_acc"], expected[name]["train_loss"]
        )  # fmt: skip
        assert result["git"]["ourlab"] == {"commit": head, "changed": False}
    git(lab, "checkout", "-q", ".")
    assert "2 done" in rbp(lab, cluster, "status", "runs/single").stdout
    (lab / "ourlab" / "losses.py").write_text((lab / "ourlab" / "losses.py").read_text() + "\nGAMMA = 2\n")
    assert "2 stale" in rbp(lab, cluster, "status", "runs/single").stdout
