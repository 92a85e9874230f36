"""Run folders of version 0.1, as it wrote them: found, read, reported, resumed, done for the same command."""

import json
import shutil
from pathlib import Path

import pytest

from rbp import cli
from rbp.config.composition.session import composing
from rbp.config.identity import folder_name
from rbp.files import read_json, read_lines
from rbp.report import write_report
from rbp.runs.config import read_frozen
from rbp.runs.folder import find_runs
from rbp.runs.result import read_result
from rbp.sweep.grid.command_line import read_command_line
from rbp.sweep.grid.compose import compose_grid
from rbp.sweep.launch import main
from rbp.sweep.state.states import observe

FIXTURES = Path(__file__).parents[1] / "fixtures" / "v0.1"
NAMES = sorted(path.parent.relative_to(FIXTURES / "runs") for path in FIXTURES.glob("runs/*/*/config.yaml"))
HALF_WAY = {
    "digits-dvs_cnn-T4-m-rate-s1-7f758fb7": "lost",
    "digits-dvs_cnn-T4-m-rate-s2-03271457": "preempted",
}
FAILED = {"digits-dvs_cnn-T2-m-rate-s0-f052c52a": "failed"}
SMALL = (
    "trainer.batch_size=16 trainer.eval_batch_size=64 trainer.limit_batches=2 trainer.epochs=1 tracker=none"
)
HALF = "dataset=digits arch=dvs_cnn tracker=none trainer.epochs=6"
FASHION = "dataset=fashion_mnist dataset.root=data/fashion"
# What make.sh ran, but for the half-way runs and the failed one.
FINISHED = [
    "-m sweep.name=grid dataset=digits arch=dvs_cnn T=2 step_mode=m,s grad_mode=bptt,rate trainer.epochs=2 "
    "trainer.limit_batches=6 tracker=none",
    f"dataset=cifar10 arch=resnet18 neuron=lif_hard T=1 grad_mode=bptt {SMALL}",
    f"dataset=cifar100 arch=vgg11 neuron=plif optimizer=adamw trainer=paper T=3 {SMALL}",
    f"{FASHION} arch=vgg13 neuron=if T=5 step_mode=s grad_mode=bptt {SMALL}",
    f"{FASHION} dataset.val_split=0.2 arch=vggsnn_cifar T=6 neuron.surrogate=atan neuron.alpha=2 "
    f"optimizer.lr=0.05 optimizer.warmup_epochs=1 {SMALL} trainer.epochs=2",
    f"dataset=cifar10_dvs arch=vggsnn_dvs dataset.on_error=skip {SMALL} trainer.batch_size=8",
    f"dataset=dvs128_gesture arch=dvs_cnn dataset.frames_by=time step_mode=s {SMALL}",
    "dataset=digits arch=resnet19 T=12 seed=3 trainer=debug tracker=none",
    "dataset=digits_dvs arch=dvs_cnn tracker=wandb trainer.batch_size=64 trainer.limit_batches=4 "
    "trainer.epochs=2",
    "dataset=digits arch=digits_cnn T=4 tracker=tensorboard trainer.limit_batches=2 trainer.epochs=1",
]


@pytest.fixture
def runs(here: Path) -> Path:
    """A copy of the folder runs/, in the working directory."""
    return shutil.copytree(FIXTURES / "runs", here / "runs")


def test_the_fixtures_hold_every_option_of_every_group_of_that_version() -> None:
    configs = [read_frozen(FIXTURES / "runs" / name) for name in NAMES]
    options = {
        "dataset": "cifar10 cifar100 cifar10_dvs digits digits_dvs dvs128_gesture fashion_mnist",
        "arch": "digits_cnn dvs_cnn resnet18 resnet19 vgg11 vgg13 vggsnn_cifar vggsnn_dvs",
        "neuron": "if lif lif_hard plif",
        "optimizer": "adamw sgd",
        "trainer": "debug default paper",
        "tracker": "none tensorboard wandb",
    }
    for group, names in options.items():
        assert {config[group]["name"] for config in configs} == set(names.split()), group
    assert {config["T"] for config in configs} == {1, 2, 3, 4, 5, 6, 8, 10, 12, 16}


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_a_config_of_then_names_the_same_run(name: Path) -> None:
    assert folder_name(read_frozen(FIXTURES / "runs" / name)) == name.name


@pytest.mark.slow
def test_command_lines_stand_for_the_runs_they_stood_for() -> None:
    seen: set[str] = set()
    with composing():  # once for all
        for line in json.loads((FIXTURES / "identities.json").read_text()):
            if line["overrides"] and seen.issuperset(line["overrides"]):
                continue  # each override once: all 532 lines take over a minute
            seen.update(line["overrides"])
            (cell,) = compose_grid(read_command_line(line["overrides"]).overrides)
            assert cell.name == line["folder"], line
    assert len(seen) == 77


def test_every_run_is_found_in_its_state_and_none_is_stale(runs: Path) -> None:
    folders = find_runs([runs])
    assert len(folders) == len(NAMES) == 16
    for folder, state in zip(folders, observe(folders, compare_code=True), strict=True):
        assert state.name == (HALF_WAY | FAILED).get(folder.name, "done"), folder


@pytest.mark.parametrize("line", FINISHED, ids=lambda line: line[:30])
def test_a_finished_run_is_done_for_the_same_command(
    runs: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in runs.glob("*/*/*.json*")}
    assert main(line.split()) == 0
    told = capsys.readouterr().out
    assert "is done already." in told or "All 4 cells are done." in told
    assert {file: file.stat().st_mtime_ns for file in runs.glob("*/*/*.json*")} == before


def test_a_failed_run_is_left_alone_until_it_is_asked_for(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "-m --dry-run dataset=digits arch=dvs_cnn T=2 optimizer.lr=1e30 trainer.epochs=1 tracker=none"
    assert main(line.split()) == 0
    assert "1 cell: 1 failed. 0 to run" in capsys.readouterr().out


def test_a_killed_run_goes_on_from_its_checkpoint(runs: Path) -> None:
    folder = runs / "single" / "digits-dvs_cnn-T4-m-rate-s1-7f758fb7"
    before = read_lines(folder / "metrics.jsonl")
    assert main([*HALF.split(), "T=4", "seed=1"]) == 0
    after = read_lines(folder / "metrics.jsonl")
    assert len(before) == 3 and after[:3] == before and [line["epoch"] for line in after] == list(range(1, 7))
    assert "starts with epoch 4 of 6" in (folder / "log.txt").read_text()
    result = read_result(folder)
    assert result is not None and result["code_before"][0]["version"] == "0.1.0" and result["test_acc"] > 0.9


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_by_the_launcher_it_had(runs: Path) -> None:
    (folder,) = (runs / "stopped").glob("digits-*")
    before = read_lines(folder / "metrics.jsonl")
    assert cli.main(["retry", str(runs / "stopped")]) == 0
    assert read_lines(folder / "metrics.jsonl")[: len(before)] == before and read_result(folder) is not None
    assert read_json(folder / "status.json")["job_id"].startswith("local-")


def test_all_are_reported_with_their_version(runs: Path) -> None:
    page = write_report([runs]).read_text()
    assert "Not readable" not in page and "rbp 0.1.0, code 88f73e407e51" in page
    for name in NAMES:
        assert name.name in page
