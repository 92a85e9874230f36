"""The cluster itself: what the tests of sweeps do to it has the effect that it has on a real one."""

import os
import signal
import subprocess
import sys

import pytest

from rbp.config.composition.places import ROOT
from tests.slurm import processes
from tests.slurm.cluster import Cluster, clear_dead, folder_of

pytestmark = pytest.mark.slurm

# A job that, like submitit's, asks to be requeued when it gets SIGUSR2. Its second run ends at once.
OBEDIENT = (
    "echo run $SLURM_RESTART_COUNT; [ -z $SLURM_RESTART_COUNT ] || exit 0;"
    " trap 'echo USR2; scontrol requeue $SLURM_JOB_ID; exit 1' USR2; echo ready; sleep 100 & wait"
)


def says(cluster: Cluster, job: str, text: str) -> None:
    output = cluster.output(job)
    cluster.wait_for(lambda: output.exists() and text in output.read_text(), f"job {job} to say {text}")


def test_a_job_of_two_nodes_has_its_gpus_and_finds_the_other_node_by_name(cluster: Cluster) -> None:
    ask = "import os, socket; e = os.environ; name = e['SLURM_JOB_NODELIST'].replace('[1-2]', '1');"
    ask += "print(e['SLURM_PROCID'], e['CUDA_VISIBLE_DEVICES'], name, socket.gethostbyname(name))"
    options = ("--nodelist=127.0.0.[1-2]", "--ntasks-per-node=2", "--gpus-per-node=1")
    job = cluster.sbatch(f'srun {sys.executable} -c "{ask}"', *options)
    cluster.wait_for_state(job, "COMPLETED")
    lines = sorted(cluster.output(job).read_text().splitlines())
    assert lines == [f"{rank} 0 127.0.0.1 127.0.0.1" for rank in range(4)]


def test_a_requeued_job_runs_again_and_submitit_is_told_its_states(cluster: Cluster) -> None:
    job = cluster.sbatch(OBEDIENT)
    says(cluster, job, "ready")
    cluster.run("scontrol", "requeue", job)
    cluster.wait_for_state(job, "COMPLETED")
    assert cluster.output(job).read_text().splitlines()[-1] == "run 1"
    assert cluster.run("sacct", "-o", "JobID,State,NodeList", "--parsable2", "-j", job).splitlines() == [
        "JobID|State|NodeList",
        f"{job}|COMPLETED|{cluster.jobs('%N')[job]}",
    ]


def test_a_job_of_partition_high_preempts_one_of_debug_which_gets_usr2_and_is_requeued(
    cluster: Cluster,
) -> None:
    node = "--nodelist=127.0.0.3"
    low = cluster.sbatch(OBEDIENT, node, "--signal=B:USR2@10")
    says(cluster, low, "ready")
    high = cluster.sbatch("hostname", node, "--partition=high", "--exclusive")
    cluster.wait_for_state(high, "COMPLETED")
    cluster.wait_for_state(low, "COMPLETED")
    lines = cluster.output(low).read_text().splitlines()
    assert [line for line in lines if "slurmstepd" not in line] == ["run", "ready", "USR2", "run 1"]


def test_a_time_limit_sends_usr2_before_it_ends_the_job(cluster: Cluster) -> None:
    job = cluster.sbatch(OBEDIENT, "--time=1", "--signal=B:USR2@59")
    cluster.wait_for_state(job, "COMPLETED")
    assert "USR2" in cluster.output(job).read_text()


def test_jobs_outlive_the_controller_and_the_slurmd_that_started_them(cluster: Cluster) -> None:
    job = cluster.sbatch("echo ready; sleep 3; echo end", "--nodelist=127.0.0.2")
    says(cluster, job, "ready")
    cluster.stop_controller()
    cluster.stop_node("127.0.0.2")
    says(cluster, job, "end")
    cluster.start_node("127.0.0.2")
    cluster.start_controller()
    cluster.wait_for_state(job, "COMPLETED")


def test_a_lost_node_is_down_and_its_job_runs_again_elsewhere(cluster: Cluster) -> None:
    job = cluster.sbatch(OBEDIENT)
    says(cluster, job, "ready")
    node = cluster.jobs("%N")[job]
    cluster.kill_node(node)
    cluster.wait_for_state(job, "COMPLETED", 90)
    assert cluster.nodes()[node].startswith("down") and cluster.jobs("%N")[job] != node
    cluster.start_node(node)
    cluster.wait_for(lambda: cluster.nodes()[node] == "idle", f"{node} to be idle")


def test_a_task_that_is_killed_fails_its_job(cluster: Cluster) -> None:
    job = cluster.sbatch("srun --ntasks=2 sleep 100", "--ntasks=2")
    cluster.wait_for(lambda: len(cluster.tasks(job)) == 2, "two tasks")
    assert [processes.command_line(pid).split()[-1] for pid in cluster.tasks(job)] == ["100", "100"]
    os.kill(cluster.tasks(job)[1], signal.SIGKILL)
    os.kill(cluster.tasks(job)[0], signal.SIGTERM)
    cluster.wait_for_state(job, "FAILED")


SESSION = """
import time
from tests.slurm.cluster import Cluster
from tests.slurm.processes import command_line
with Cluster() as cluster:
    cluster.sbatch("sleep 100")
    runs = lambda: any(command_line(pid).startswith("sleep") for pid in cluster.processes())
    cluster.wait_for(runs, "the job")
    print(*cluster.processes(), flush=True)
    time.sleep(100)
"""


def test_what_a_killed_session_left_is_cleared_and_a_living_one_is_left_alone(cluster: Cluster) -> None:
    session = subprocess.Popen([sys.executable, "-c", SESSION], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert session.stdout is not None
        pids = [int(pid) for pid in session.stdout.readline().split()]
        clear_dead()
        assert pids and all(processes.command_line(pid) for pid in pids)
    finally:
        session.kill()
        session.communicate()
        clear_dead()
    assert not any(processes.command_line(pid) for pid in pids)
    assert not folder_of(str(session.pid)).exists()
    assert set(cluster.nodes().values()) == {"idle"}
