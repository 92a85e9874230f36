"""What most often happens to a sweep's jobs: in the end each cell is as if nothing had."""

import os
import signal

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.project import ON_SLURM, Project, assert_as_undisturbed, job_of

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


def test_cells_are_signalled_requeued_and_killed_and_outlive_the_controller(
    project: Project, cluster: Cluster
) -> None:
    project.write_sweep("four", {"grad_mode": ["bptt", "rate"], "step_mode": ["m", "s"]})
    parent = project.start("sweeps=four", *ON_SLURM, "hydra.launcher.parallel=2")
    signalled, requeued, killed, last = (
        project.cell("four", part) for part in ("m-bptt-s0", "s-bptt-s0", "m-rate-s0", "s-rate-s0")
    )
    project.wait_for_epoch(signalled, 1)
    # Step 0: of an array task without its step Slurm 22.05 says "try again later", and scancel signals again.
    cluster.run("scancel", "--signal=USR2", f"{job_of(signalled)}.0")
    project.wait_for_epoch(requeued, 1)
    cluster.run("scontrol", "requeue", job_of(requeued))
    project.wait_for_epoch(killed, 1)
    os.kill(cluster.tasks(job_of(killed))[0], signal.SIGKILL)
    project.wait_for_epoch(last, 1)
    cluster.stop_controller()
    project.wait_for_epoch(last, 2)
    cluster.start_controller()

    out, err = parent.communicate(timeout=600)
    assert parent.returncode == 1, out + err
    assert "1 of the cells failed: grad_mode=rate step_mode=m;" in err
    assert f"1 cell lost: job {job_of(killed)} ended with an error" in out
    assert "SIGUSR2: stopped in epoch" in signalled.log.read_text()
    jobs = [job_of(run) for run in (signalled, requeued, last)]
    assert [cluster.restarts(job) for job in jobs] == [1, 1, 0], cluster.story(*jobs)
    told = project.rbp("status", "runs/four")
    assert told.returncode == 1 and "3 done, 1 lost" in told.stdout, told.stdout + told.stderr

    again = project.rbp("retry", "runs/four")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 submitted to slurm." in again.stdout
    assert project.states("four") == ["done"] * 4
    assert_as_undisturbed(project.cells("four"), project.run_undisturbed("four"))
