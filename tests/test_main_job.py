"""The main job end to end: launch.py on real data and on small sets in their true formats."""

import json
from pathlib import Path

import pytest

from rbp.sweep.launch import main
from tests.support.datasets import needs_fashion_mnist, write_cifar10, write_cifar100
from tests.support.processes import launch
from tests.support.run_folders import results

pytestmark = [pytest.mark.usefixtures("here", "one_thread"), pytest.mark.slow]


@pytest.mark.slow
@pytest.mark.timeout(1500)  # two minutes on two free cores
def test_the_quickstart_reaches_97_percent_in_every_cell_and_is_then_done() -> None:
    first = launch("sweeps=quickstart")
    assert first.returncode == 0, first.stderr
    cells = results("quickstart")
    modes = {(r["config"]["grad_mode"], r["config"]["step_mode"]) for r in cells}
    assert modes == {("bptt", "m"), ("bptt", "s"), ("rate", "m"), ("rate", "s")}
    assert {r["config"]["T"] for r in cells} == {4}
    assert all(r["test_acc"] >= 0.97 for r in cells), [r["test_acc"] for r in cells]
    memory = {r["config"]["grad_mode"]: r["peak_memory_bytes"] for r in cells}
    assert memory["rate"] < memory["bptt"] / 2
    again = launch("sweeps=quickstart")
    assert "All 4 cells are done." in again.stdout and "epoch" not in again.stdout.split("\n")[0]
    table = first.stdout[first.stdout.index("grad_mode  step_mode") :]
    assert again.stdout.endswith(table) and "Files: runs/quickstart" in table
    for r in cells:
        assert f"{100 * r['test_acc']:.2f}%" in table and f"{r['firing_rate']:.3f}" in table


CIFAR = (
    "T=2",
    "trainer=debug",
    "trainer.batch_size=4",
    "trainer.eval_batch_size=8",
    "dataset.download=false",
)


LARGE = [
    pytest.param(arch, marks=pytest.mark.slow)
    for arch in ("resnet18", "resnet19", "vgg11", "vgg13", "vggsnn_cifar")
]


@pytest.mark.parametrize("arch", ["digits_cnn", *LARGE])
def test_every_architecture_trains_on_cifar10_files_in_the_main_command(arch: str, here: Path) -> None:
    write_cifar10(here / "data")
    line = [f"arch={arch}", "dataset=cifar10", "step_mode=m", "grad_mode=rate"]
    assert main([*CIFAR, *line]) == 0
    (result,) = results("single")
    assert result["config"]["arch"] == arch and result["config"]["dataset"] == "cifar10"
    assert 0 <= result["test_acc"] <= 1 and result["epochs"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("neuron", ["lif", "lif_hard", "if", "plif"])
def test_every_neuron_trains_in_all_four_combinations(neuron: str) -> None:
    base = ["trainer=debug", "T=3", f"neuron={neuron}", "trainer.batch_size=16", "sweep.name=n"]
    assert main(["-m", *base, "step_mode=m,s", "grad_mode=bptt,rate"]) == 0
    losses = {(r["config"]["step_mode"], r["config"]["grad_mode"]): r["train_loss"] for r in results("n")}
    assert len(losses) == 4
    # The first step is the same network on the same images; the second has moved by another gradient.
    assert losses["m", "rate"] == pytest.approx(losses["m", "bptt"], rel=0.2)
    assert losses["s", "rate"] == pytest.approx(losses["s", "bptt"], rel=0.2)


@pytest.mark.slow
def test_cifar100_has_a_hundred_classes_and_tells_top_5(here: Path) -> None:
    write_cifar100(here / "data")
    assert main([*CIFAR, "dataset=cifar100", "arch=vggsnn_cifar", "optimizer=adamw", "step_mode=s"]) == 0
    (result,) = results("single")
    assert result["test_top5"] >= result["test_acc"]


@pytest.mark.slow
@needs_fashion_mnist
def test_real_fashion_mnist_is_learnt_in_part_of_an_epoch() -> None:
    line = ["dataset=fashion_mnist", "T=1", "trainer.epochs=1", "trainer.limit_batches=60"]
    line += ["trainer.batch_size=32", "trainer.eval_batch_size=32", "trainer.progress=none"]
    assert main([*line, "optimizer=adamw", "optimizer.lr=3e-3", "optimizer.schedule=constant"]) == 0
    (result,) = results("single")
    assert result["test_acc"] > 0.3  # 0.1 is chance


# --- bad input ----------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one message of a command line that must fail and write nothing."""
    before = sorted(Path().rglob("*"))
    assert main(list(argv)) != 0
    told = capsys.readouterr()
    assert told.err.startswith("error: ") and "Traceback" not in told.err
    assert sorted(Path().rglob("*")) == before
    return told.err


def test_a_batch_larger_than_the_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "trainer.batch_size=2000")
    assert "trainer.batch_size=2000: must be at most 1437" in told and "dataset=digits" in told


def test_missing_data_without_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "dataset=cifar10", "dataset.root=nowhere", "dataset.download=false")
    assert "nowhere" in told and "data_batch_1" in told and "cifar-10-batches-py" in told


def test_a_data_file_that_is_cut_short(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cifar10(here / "data")
    file = here / "data" / "cifar-10-batches-py" / "data_batch_3"
    file.write_bytes(file.read_bytes()[:-1000])
    assert "data_batch_3" in refused(capsys, *CIFAR, "dataset=cifar10", "arch=resnet18")


def test_a_run_folder_that_cannot_be_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "file").touch()
    assert "runs_dir=file/runs" in refused(capsys, "runs_dir=file/runs")


def test_evaluation_of_what_is_not_there_or_fits_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no checkpoint to evaluate" in refused(capsys, "eval_only=true")
    assert "nothing.pt: no such checkpoint" in refused(capsys, "eval_only=true", "checkpoint=nothing.pt")
    assert main(["trainer=debug"]) == 0
    (last,) = Path("runs").rglob("last.pt")
    told = refused(capsys, "eval_only=true", f"checkpoint={last}", "arch=resnet18")
    assert "another network" in told and "digits-digits_cnn" in told
    assert main(["eval_only=true", f"checkpoint={last}", "T=8"]) == 0


@pytest.mark.slow
def test_a_loss_that_becomes_infinite_fails_the_run_with_exit_code_1() -> None:
    done = launch("trainer=debug", "optimizer.lr=1e38", "trainer.limit_batches=5")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: the loss is") and "learning rate 1e+38" in done.stderr
    (status,) = Path("runs").rglob("status.json")
    assert json.loads(status.read_text())["state"] == "failed"
