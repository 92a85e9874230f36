"""What a cluster does to jobs by itself: it preempts them, loses their nodes, ends their time."""

import contextlib
import os
import signal

import pytest

from tests.slurm import processes
from tests.slurm.cluster import Cluster
from tests.slurm.project import Project, assert_as_undisturbed, job_of
from tests.support.run_folders import status_of

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


def test_a_preempted_cell_and_one_whose_node_is_lost_go_on_where_they_were(
    project: Project, cluster: Cluster
) -> None:
    project.write_sweep("moved", {"seed": [0, 1]}, trainer__epochs=24)  # none is done before it is moved
    project.submit("moved", "hydra.launcher.cpus=2")  # each has a node of its own
    preempted, lost = project.cell("moved", "m-rate-s0"), project.cell("moved", "m-rate-s1")
    project.wait_for_epoch(preempted, 1)
    cluster.sbatch("sleep 5", f"--nodelist={node_of(cluster, job_of(preempted))}", "--partition=high", "-c2")
    project.wait_for(lambda: status_of(preempted)["state"] == "preempted", "moved", "the preemption")
    project.wait_for_epoch(lost, 1)
    node = node_of(cluster, job_of(lost))
    cluster.kill_node(node)
    project.wait_until_done("moved", 2)

    assert node_of(cluster, job_of(lost)) != node
    assert "SIGUSR2: stopped in epoch" in preempted.log.read_text()
    assert [cluster.restarts(job_of(run)) for run in (preempted, lost)] == [1, 1]
    cluster.start_node(node)
    cluster.wait_for(lambda: cluster.nodes()[node] == "idle", f"{node} to be back")
    assert_as_undisturbed(project.cells("moved"), project.run_undisturbed("moved"))


def test_a_cell_that_reaches_its_time_limit_is_queued_again_until_it_is_done(
    project: Project, cluster: Cluster
) -> None:
    project.write_sweep("limited", {"seed": [0]})
    # Slurm signals up to half a minute early, and by then the process must have begun.
    project.submit("limited", "hydra.launcher.time=1", "hydra.launcher.signal_delay=10")
    (run,) = project.cells("limited")
    project.wait_for_epoch(run, 1)
    (task,) = cluster.tasks(job_of(run))
    # Slurm counts in minutes: the cell rests until it is signalled, so that it need not train as long.
    os.kill(task, signal.SIGSTOP)
    project.wait_for(
        lambda: processes.is_pending(task, signal.SIGUSR2) or status_of(run)["state"] == "preempted",
        "limited",
        "the signal before the time limit",
    )
    with contextlib.suppress(ProcessLookupError):
        os.kill(task, signal.SIGCONT)
    project.wait_until_done("limited", 1)
    assert cluster.restarts(job_of(run)) >= 1
    assert "SIGUSR2: stopped in epoch" in run.log.read_text()
    assert_as_undisturbed([run], project.run_undisturbed("limited"))


def node_of(cluster: Cluster, job: str) -> str:
    return cluster.jobs("%N")[job]
