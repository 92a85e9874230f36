"""What is checked of the machine: resuming, ranks, data, and what is there beside rbp."""

from pathlib import Path

import pytest
import torch

from rbp.check import ranks, resume, surroundings
from rbp.check.images import check_augmentation, check_frames
from rbp.check.ranks import check_ranks
from rbp.check.resume import check_resume
from rbp.check.surroundings import check_compiler, check_dataset, check_slurm, check_wandb
from rbp.files import append_line
from tests.support.datasets import write_cifar10

CPU = torch.device("cpu")


@pytest.mark.slow
def test_a_killed_run_goes_on_here_and_one_that_goes_on_to_other_bits_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = resume._different
    told = []

    def also_after_a_change(one: resume.RunFolder, other: resume.RunFolder) -> str:
        same = own(one, other)
        append_line(other.metrics, {"epoch": 7})
        told.append(own(one, other))
        return same

    monkeypatch.setattr(resume, "_different", also_after_a_change)
    found = check_resume(CPU)
    assert found.status == "ok" and found.summary.startswith("killed after epoch "), found
    assert told == ["metrics"]


def test_other_bits_after_a_kill_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, answer in {
        "_train": "",
        "_start": None,
        "_kill_after_an_epoch": 1,
        "_different": "metrics",
    }.items():
        monkeypatch.setattr(resume, name, lambda *args, answer=answer: answer)
    found = check_resume(CPU)
    assert found.status == "wrong" and found.summary == "metrics differ after a kill"


def test_two_ranks_train_as_one_here() -> None:
    found = check_ranks(CPU)
    assert found.status == "ok" and found.summary.startswith("2 ranks over gloo"), found


def test_ranks_that_do_not_meet_are_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ranks, "_together", lambda *args: ranks_of_no_backend(tmp_path))
    found = check_ranks(CPU)
    assert (
        found.status == "wrong"
        and "2 ranks over gloo: " in found.summary
        and "nonsense" in found.summary.lower()
    )


def ranks_of_no_backend(folder: Path) -> object:
    return OWN("nonsense", 2, "cpu", folder / "store")


OWN = ranks._together


def test_on_a_cpu_images_are_the_cpus() -> None:
    assert check_augmentation(CPU).status == check_frames(CPU).status == "absent"


@pytest.mark.gpu
def test_on_a_gpu_images_are_the_cpus() -> None:
    for check in (check_augmentation, check_frames):
        assert (found := check(torch.device("cuda"))).status == "ok", found


def test_a_compiler_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbp.rate.neurons.compiled.works", lambda device: False)
    found = check_compiler(CPU)
    assert found.status == "absent" and "g++" in found.advice and "trainer.kernels=plain" in found.advice
    assert "triton" in check_compiler(torch.device("cuda")).advice


def test_a_login_of_wandb_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert check_wandb(CPU).status == "absent" and "wandb login" in check_wandb(CPU).advice
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert check_wandb(CPU).summary == "logged in"
    (tmp_path / "netrc").write_text("machine\n")
    assert check_wandb(CPU).status == "absent"
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert check_wandb(CPU).summary == "a key in WANDB_API_KEY"


def test_slurm_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_slurm(CPU).status == "absent" and "login node" in check_slurm(CPU).advice
    for name, script in (("sbatch", "exit 0"), ("sinfo", "echo 'debug* up 4'")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    assert check_slurm(CPU).summary == "partitions: debug* up 4"
    (tmp_path / "sinfo").write_text("#!/bin/sh\necho 'sinfo: error: no controller' >&2\nexit 1\n")
    assert check_slurm(CPU).summary == "Slurm does not answer: sinfo: error: no controller"


def test_data_sets_are_looked_for_where_rbp_data_points(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RBP_DATA", str(tmp_path))
    assert check_dataset("digits", CPU).summary == "1,437 training images in scikit-learn"
    found = check_dataset("cifar10", CPU)
    assert found.status == "absent" and str(tmp_path) in found.summary and "RBP_DATA" in found.advice
    write_cifar10(tmp_path)
    assert check_dataset("cifar10", CPU).summary == f"100 training images in {tmp_path}"
    assert check_dataset("cifar10_dvs", CPU).status == "absent"
    assert check_dataset("imagenet", CPU).status == "absent"
    for number in range(1000):
        for part in ("train", "val"):
            (tmp_path / "imagenet" / part / f"n{number:08}").mkdir(parents=True)
        if number == 0:
            assert "has 1 class folder" in check_dataset("imagenet", CPU).summary
    found = check_dataset("imagenet", CPU)  # which reads no image, and makes no index
    assert found.status == "ok" and not (tmp_path / "imagenet" / "prepared").exists()
    assert surroundings.check_fused_neurons(CPU).status == "absent"
