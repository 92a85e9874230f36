"""What Slurm or a run refuses: told in words, and nothing else suffers."""

from pathlib import Path

import pytest

from rbp.sweep.launch import main
from tests.slurm.cluster import Cluster
from tests.slurm.project import ON_SLURM, SHORT, Project, job_of

pytestmark = pytest.mark.timeout(900)

CELLS = ("-m", "seed=0,1", *(f"{key}={value}" for key, value in SHORT.items()))


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("argument", "said", "hint"),
    [
        ("hydra.launcher.partition=nosuch", "invalid partition specified: nosuch", "partition (now nosuch)"),
        ("hydra.launcher.gpus=9", "node configuration is not available", "change hydra.launcher.gpus"),
        ("hydra.launcher.constraint=a100", "Invalid feature specification", "constraint (now a100)"),
        (
            "hydra.launcher.sbatch={nosuch: 1}",
            "unrecognized option '--nosuch=1'",
            "leave out hydra.launcher.sbatch.nosuch",
        ),
        ("hydra.launcher.time_limit=1", "hydra.launcher.time_limit: no such key", "hydra.launcher.time"),
        ("hydra.launcher.time=0", "hydra.launcher.time=0", "must be a whole number, 1 or more"),
        ("optimizer.lr=0.1,-1,-2", "optimizer.lr=-1", "optimizer.lr=-2"),
    ],
)
def test_of_a_wrong_request_slurms_words_are_told_and_nothing_is_submitted(
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argument: str,
    said: str,
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for key in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(key, cluster.env[key])
    before = set(cluster.jobs())  # those of another test may still be ending
    assert main([*CELLS, *ON_SLURM, argument]) == 2
    told = capsys.readouterr().err
    assert said in told and hint in told
    new = {state for job, state in cluster.jobs().items() if job not in before}
    assert not {"PENDING", "RUNNING"} & new
    assert not list(tmp_path.glob("runs/*/*/status.json"))


def test_without_sbatch_nothing_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*CELLS, "hydra/launcher=slurm"]) == 2
    assert "there is no sbatch on this machine" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slurm
def test_a_cell_that_fails_hides_none_and_is_left_alone_until_it_is_retried(
    project: Project, cluster: Cluster
) -> None:
    project.write_sweep("broken", {"optimizer.lr": [1e30, 0.1]})
    done = project.launch("sweeps=broken", *ON_SLURM, "hydra.launcher.cells_per_job=2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of the cells failed" in done.stderr and "try a smaller optimizer.lr" in done.stdout
    assert sorted(project.states("broken")) == ["done", "failed"]
    (failed,) = (run for run in project.cells("broken") if not run.result.exists())
    cluster.wait_for_state(job_of(failed), "FAILED")
    assert failed.checkpoints.exists() is False

    status = project.rbp("status", "runs/broken")
    assert status.returncode == 1 and "1 done, 1 failed" in status.stdout
    assert "try a smaller optimizer.lr" in status.stdout
    logs = project.rbp("logs", str(failed.path))
    assert "try a smaller optimizer.lr" in logs.stdout and "submitit INFO" in logs.stdout
    left = project.launch("sweeps=broken", *ON_SLURM, "--dry-run")
    assert "0 to run" in left.stdout, left.stdout + left.stderr
    retried = project.launch("sweeps=broken", *ON_SLURM, "--dry-run", "retry=true")
    assert "1 to run" in retried.stdout, retried.stdout + retried.stderr
