"""Cells that wait in a queue: what happens to the project, to the parents and to the jobs meanwhile."""

import subprocess

import pytest

from rbp.cli import main as rbp
from tests.slurm.cluster import Cluster
from tests.slurm.project import ON_SLURM, Project, assert_as_undisturbed, job_of

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


def test_what_waits_is_submitted_once_outlives_its_parents_and_runs_as_it_was_submitted(
    project: Project, cluster: Cluster
) -> None:
    project.write_sweep("waiting", {"seed": [0, 1]})
    undisturbed = project.run_undisturbed("waiting")
    with cluster.holding_jobs():
        parents = [project.start("sweeps=waiting", *ON_SLURM) for _ in range(2)]
        told = [read_until(parent, "queued") for parent in parents]
        assert sorted("2 submitted to slurm." in lines for lines in told) == [False, True]
        for parent in parents:
            parent.kill()
            parent.communicate()
        edit(project, "conf/config.yaml", "seed: 0", "seed: 5")
        edit(project, "conf/optimizer/sgd.yaml", "${dataset.recipe.lr}", "7.0")
        edit(
            project,
            "rbp/train/step/training_step.py",
            "training.optimizer.step()",
            "raise RuntimeError('edited')",
        )
        assert list(cluster.jobs("%j").values()).count("rbp-waiting") == 2
    project.wait_until_done("waiting", 2)
    assert_as_undisturbed(project.cells("waiting"), undisturbed)
    told_now = project.rbp("status", "runs/waiting")
    assert "2 runs: 2 stale" in told_now.stdout, told_now.stdout + told_now.stderr


def test_a_cancelled_sweep_ends_its_jobs_and_goes_on_when_it_is_started_again(
    project: Project,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project.write_sweep("ended", {"seed": [0, 1]}, trainer__epochs=20)  # none is done before it is cancelled
    parent = project.start("sweeps=ended", *ON_SLURM, "hydra.launcher.parallel=1")
    first, second = (project.cell("ended", f"m-rate-s{seed}") for seed in (0, 1))
    project.wait_for_epoch(first, 1)
    jobs = [job_of(first), job_of(second)]
    for key in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(key, cluster.env[key])
    assert rbp(["cancel", str(project.runs("ended"))]) == 0  # in this process: before the cell is done
    assert "2 cancelled" in capsys.readouterr().out
    assert project.states("ended") == ["cancelled", "cancelled"] and not second.metrics.exists()
    assert first.checkpoints.exists()
    out, err = parent.communicate(timeout=120)
    assert parent.returncode == 1 and "2 of the cells did not end" in err, out + err
    for job in jobs:
        cluster.wait_for_state(job, "CANCELLED")
    again = project.launch("sweeps=ended", *ON_SLURM, "hydra.launcher.parallel=2")
    assert again.returncode == 0, again.stdout + again.stderr
    assert_as_undisturbed(project.cells("ended"), project.run_undisturbed("ended"))
    assert "starts with epoch 1 of" not in first.log.read_text().splitlines()[-1]


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """What a process says, up to a line that begins with word."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(word):
            return "".join(lines)
    raise AssertionError(f"never said {word}: {''.join(lines)} {process.communicate()[1]}")


def edit(project: Project, name: str, old: str, new: str) -> None:
    file = project.folder / name
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new))
