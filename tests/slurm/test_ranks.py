"""Cells that span two tasks of a job."""

import os
import signal

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.project import ON_SLURM, Project, assert_as_undisturbed, job_of

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


def test_a_cell_of_two_tasks_goes_on_after_a_signal_and_fails_when_a_task_dies(
    project: Project, cluster: Cluster
) -> None:
    launcher = (*ON_SLURM, "hydra.launcher.tasks=2", "hydra.launcher.parallel=1")
    project.write_sweep("pair", {"seed": [0, 1]})
    parent = project.start("sweeps=pair", *launcher)
    signalled, broken = (project.cell("pair", f"m-rate-s{seed}") for seed in (0, 1))
    project.wait_for_epoch(signalled, 1)
    cluster.run("scancel", "--signal=USR2", f"{job_of(signalled)}.0")
    project.wait_for_epoch(broken, 1)
    os.kill(cluster.tasks(job_of(broken))[1], signal.SIGKILL)

    out, err = parent.communicate(timeout=600)
    assert parent.returncode == 1, out + err
    assert "1 of the cells failed: seed=1;" in err
    assert "SIGUSR2: stopped in epoch" in signalled.log.read_text()
    assert cluster.restarts(job_of(signalled)) == 1, project.told("pair") + cluster.story(job_of(signalled))
    cluster.wait_for_state(job_of(broken), "FAILED")
    again = project.rbp("retry", "runs/pair")
    assert again.returncode == 0, again.stdout + again.stderr

    undisturbed = project.launch("sweeps=pair", *launcher, "runs_dir=undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
    assert_as_undisturbed(project.cells("pair"), project.folder / "undisturbed" / "pair")
