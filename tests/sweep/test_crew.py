"""torchrun with launch.py: one rank does the sweep's work, all train; and variables left by another tool."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rbp.config.composition.places import ROOT
from rbp.environment import outside_of_jobs, without_ranks
from tests.support.event_recordings import write_cifar10_dvs
from tests.support.processes import launch

CELL = ["trainer=debug", "tracker=none", "trainer.device=cpu", "trainer.threads=1"]
LEFT_OVER = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29717"}


def torchrun(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run(
        [*start, str(ROOT / "launch.py"), *CELL, *argv],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def results(folder: Path) -> list[Path]:
    return sorted(folder.glob("runs/*/*/result.json"))


@pytest.mark.slow
def test_one_rank_does_the_sweeps_work_and_all_train(tmp_path: Path) -> None:
    """The recordings are prepared once, a stale result is put aside once, and what is said is said once."""
    write_cifar10_dvs(tmp_path / "dvs", "aedat", n=4)
    events = [
        "dataset=cifar10_dvs",
        f"dataset.root={tmp_path / 'dvs'}",
        "dataset.size=16",
        "arch=dvs_cnn",
        "T=2",
    ]
    done = torchrun(*events, "trainer.batch_size=4", "-m", "seed=0,1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("2 cells: 2 new.") == done.stdout.count("Report: ") == 1
    assert [json.loads(file.read_text())["machine"]["ranks"] for file in results(tmp_path)] == [2, 2]
    stale = json.loads(results(tmp_path)[0].read_text())
    results(tmp_path)[0].write_text(json.dumps(stale | {"code": stale["code"] | {"hash": "0123abcd"}}))
    again = torchrun(*events, "trainer.batch_size=4", "-m", "seed=0,1", "rerun_stale=true", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 done, 1 stale" in again.stdout
    assert len(list(tmp_path.glob("runs/*/*/older-0123abcd"))) == 1 and len(results(tmp_path)) == 2


@pytest.mark.slow
def test_a_refusal_is_said_once_and_ends_all_ranks(tmp_path: Path) -> None:
    done = torchrun("T=0", cwd=tmp_path)
    assert done.returncode != 0 and done.stderr.count("error: T=0: must be a whole number, 1 or more") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_rank_says_for_whom_it_waits_and_can_be_stopped(tmp_path: Path) -> None:
    """Variables of another tool, with nobody on the other side; nothing is written."""
    command = [sys.executable, str(ROOT / "launch.py"), *CELL, f"runs_dir={tmp_path}"]
    started = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | LEFT_OVER,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
    )
    assert started.stderr is not None
    told = started.stderr.readline()
    started.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert started.wait(60) == 130 and time.monotonic() - began < 30
    assert told.startswith("waiting for rank 1 of WORLD_SIZE=2 at 127.0.0.1:29717")
    assert "unset RANK WORLD_SIZE" in told and not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_what_only_shows_waits_for_nobody(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LEFT_OVER.items():
        monkeypatch.setenv(name, value)
    done = launch(flag, seconds=60)
    assert done.returncode == 0 and done.stdout


def test_processes_that_train_alone_get_no_variables_of_ranks() -> None:
    environment = without_ranks(LEFT_OVER | {"TORCHELASTIC_RUN_ID": "x", "SLURM_JOB_ID": "1"})
    assert environment == {"SLURM_JOB_ID": "1"}


def test_a_submission_hides_the_job_that_it_comes_from_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_job = {"SLURM_CPU_BIND": "quiet,mask_cpu:0x1", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "RANK": "0"}
    kept = {"SLURM_CONF": "/etc/slurm/slurm.conf", "SBATCH_ACCOUNT": "lab", "MY_OWN": "1"}
    for name, value in (of_job | kept).items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with outside_of_jobs():
        assert not of_job.keys() & os.environ.keys()
        assert {name: os.environ[name] for name in kept} == kept
    assert dict(os.environ) == before
    with pytest.raises(ZeroDivisionError), outside_of_jobs():
        raise ZeroDivisionError
    assert dict(os.environ) == before
