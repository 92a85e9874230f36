"""What a refusal by Slurm says: its own words, and the setting that its reason is about."""

import os
from pathlib import Path

import pytest

from rbp.config.launchers import SlurmSettings
from rbp.sweep import launch
from rbp.sweep.slurm.refusals import explain_refusal

FAILED = "Batch job submission failed:"
POLICY = f"{FAILED} Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
JOBS, TIME, SIZE = (
    "cells_per_job",
    "hydra.launcher.time (now 240 minutes)",
    "gpus, cpus, memory, nodes or tasks",
)
PARTITION = "hydra.launcher.partition (now None)"


def sbatch_says(*lines: str) -> str:
    return "".join(f"sbatch: error: {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("QOSMaxSubmitJobPerUserLimit", POLICY), JOBS),
        (("QOSMaxSubmitJobLimit", POLICY), JOBS),
        (("AssocMaxSubmitJobLimit", POLICY), JOBS),
        (("AssocGrpSubmitJobsLimit", POLICY), JOBS),
        (("QOSMaxWallDurationPerJobLimit", POLICY), TIME),
        (("AssocMaxWallDurationPerJobLimit", POLICY), TIME),
        (("QOSMaxGRESPerJob", POLICY), SIZE),
        (("QOSMaxCpuPerUserLimit", POLICY), SIZE),
        (("AssocMaxNodePerJobLimit", POLICY), SIZE),
        (("QOSMinMemory", POLICY), SIZE),
        ((POLICY,), JOBS),
        ((f"{FAILED} Requested time limit is invalid (missing or exceeds some limit)",),
         TIME),
        (("Batch job submission failed: Requested node configuration is not available",), SIZE),
        (("CPU count per node can not be satisfied", f"{FAILED} Requested node configuration is"), SIZE),
        (("invalid partition specified: gpuu", f"{FAILED} Invalid partition name specified"),
         PARTITION),
        (("Batch job submission failed: Invalid account or account/partition combination specified",),
         "hydra.launcher.account (now None) or partition"),
        (("Batch job submission failed: Invalid qos specification",), "hydra.launcher.qos"),
        (("Batch job submission failed: Invalid feature specification",), "hydra.launcher.constraint"),
        (("Invalid generic resource (gres) specification",), "hydra.launcher.gpus (now 1)"),
        (("Memory specification can not be satisfied",), "hydra.launcher.memory"),
        ((f"{FAILED} Requested reservation is invalid",), "hydra.launcher.sbatch.reservation"),
        (("fetch_config: DNS SRV lookup failed",), "no cluster answers on this machine"),
        (("Unable to contact slurm controller (connect failure)",), "again later"),
        (("Batch job submission failed: Socket timed out on send/recv operation",), "again later"),
        (("Slurm temporarily unable to accept job, sleeping and retrying",), "again later"),
        (("a policy of this site alone",), "the keys of hydra.launcher"),
    ],
)  # fmt: skip
def test_the_hint_follows_slurms_reason(lines: tuple[str, ...], told: str) -> None:
    message = explain_refusal(sbatch_says(*lines), SlurmSettings())
    assert told in message and all(line in message for line in lines)


def test_an_option_that_this_slurm_lacks_is_named() -> None:
    message = explain_refusal("sbatch: unrecognized option '--frobnicate'", SlurmSettings())
    assert "leave out hydra.launcher.sbatch.frobnicate" in message


def test_the_message_names_the_file_of_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("sbatch", "srun", "squeue", "scancel", "scontrol"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'sbatch: error: QOSMaxSubmitJobLimit' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    conf = tmp_path / "conf" / "hydra" / "launcher"
    conf.mkdir(parents=True)
    (conf / "mycluster.yaml").write_text("defaults: [slurm]\ntime: 4:00:00\n")
    cell = ["trainer=debug", "tracker=none", f"runs_dir={tmp_path / 'runs'}"]
    assert launch.main(["hydra/launcher=mycluster", *cell]) == 2
    assert "hydra/launcher=mycluster: Slurm refused the jobs: QOSMaxSubmitJobLimit" in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["hello world", "", "no job for you"])
def test_an_answer_of_sbatch_that_is_no_id_leaves_no_run_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    for name in ("sbatch", "srun", "squeue", "scancel", "scontrol"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    assert launch.main(["hydra/launcher=slurm", "trainer=debug", "tracker=none", "runs_dir=runs"]) == 2
    told = capsys.readouterr().err
    assert "sbatch answered something other than the id of a job" in told and "squeue --me" in told
    assert not list(tmp_path.glob("runs/single/*/config.yaml"))
