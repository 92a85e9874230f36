"""How jobs start: submitted from within another job, with an old env, and where they die before Python."""

from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.project import ON_SLURM, Project, assert_as_undisturbed, job_of

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

# What task/affinity adds to a job's variables; srun in another job would take them for its own.
AFFINITY = {
    "SLURM_CPU_BIND": "quiet,mask_cpu:0x1000",
    "SLURM_CPU_BIND_LIST": "0x1000",
    "SLURM_CPU_BIND_TYPE": "mask_cpu:",
    "SLURM_CPU_BIND_VERBOSE": "quiet",
}


def test_jobs_submitted_from_an_interactive_job_know_nothing_of_it(project: Project) -> None:
    project.write_sweep("inside", {"seed": [0]}, trainer__epochs=1, trainer__limit_batches=2)
    listing = "hydra.launcher.setup=['env > of_job.txt']"
    done = project.in_a_job(AFFINITY, "sweeps=inside", *ON_SLURM, listing)
    assert done.returncode == 0, done.stdout + done.stderr + project.told("inside")
    of_job = dict(
        line.partition("=")[::2] for line in (project.folder / "of_job.txt").read_text().splitlines()
    )
    assert not AFFINITY.keys() & of_job.keys()
    assert of_job["SLURM_JOB_ID"] and "SLURM_STEP_ID" not in of_job


def test_an_env_without_block_signal_starts_jobs_that_are_signalled_and_go_on(
    project: Project, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """That of coreutils before 8.31, as on RHEL 8, and of busybox."""
    old = tmp_path_factory.mktemp("bin") / "env"
    refusal = 'echo "env: unrecognized option $1" >&2; exit 125'
    old.write_text(f'#!/bin/sh\ncase "$1" in --*) {refusal};; esac\nexec /usr/bin/env "$@"\n')
    old.chmod(0o755)
    project.write_sweep("old", {"seed": [0]})
    project.env["PATH"] = f"{old.parent}:{project.env['PATH']}"
    project.submit("old")
    (run,) = project.cells("old")
    project.wait_for_epoch(run, 1)
    cluster.run("scancel", "--signal=USR2", job_of(run))
    project.wait_until_done("old", 1)
    assert "SIGUSR2: stopped in epoch" in run.log.read_text()
    assert_as_undisturbed([run], project.run_undisturbed("old"))


def test_of_a_job_that_dies_before_python_status_gives_the_last_words(project: Project) -> None:
    project.write_sweep("dead", {"seed": [0]})
    setup = "hydra.launcher.setup=['echo \"Lmod: no module cuda/99\" >&2; exit 3']"
    done = project.launch("sweeps=dead", *ON_SLURM, setup)
    assert done.returncode == 1
    assert "ended with an error: Lmod: no module cuda/99" in done.stdout + done.stderr
    assert "ended with an error: Lmod: no module cuda/99" in project.rbp("status", "runs/dead").stdout
    assert not list(Path(project.folder).glob("runs/dead/*/metrics.jsonl"))
