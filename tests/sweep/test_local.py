"""Real processes side by side: what is killed, cancelled, started again, and what comes of it."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rbp import cli
from rbp.config.launchers import LocalSettings
from rbp.files import read_json
from rbp.runs.config import write_config
from rbp.runs.folder import RunFolder
from rbp.runs.status import run_lock
from rbp.sweep import retry
from rbp.sweep.grid.compose import compose_cell
from rbp.sweep.launch import main
from rbp.sweep.launchers import local
from rbp.sweep.launchers.local import visible_gpus
from rbp.sweep.launchers.pool import Slots, share_out
from rbp.sweep.start import start
from rbp.sweep.state.states import observe
from rbp.sweep.state.sweepfolder import SweepFolder
from rbp.train.telemetry import record
from tests.support import waiting
from tests.support.run_folders import metrics, without_timings

SHORT = ["T=2", "trainer.epochs=2", "trainer.limit_batches=4", "trainer.batch_size=32", "trainer.threads=1"]
SHORT += ["trainer.eval_batch_size=32", "trainer.device=cpu", "tracker=none"]


pytestmark = pytest.mark.usefixtures("here")


def wait_for(condition: Callable[[], Any]) -> Any:
    return waiting.wait_for(condition, explain=job_logs)


def job_logs() -> str:
    return "\n".join(file.read_text() for file in Path("runs").glob("*/.sweep/jobs/*"))


def at_work(sweep: Path) -> list[Path]:
    """The folders of runs that train now, past their first epoch."""
    states = [(folder, read_json(folder / "status.json")) for folder in SweepFolder(sweep).runs()]
    begun = [folder for folder, status in states if status and status["state"] == "running"]
    return [folder for folder in begun if RunFolder(folder).metrics.exists()]


def final(folder: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """What a run came to, to the last bit: metrics, result, weights."""
    run = RunFolder(folder)
    weights = torch.load(run.checkpoints / "last.pt", weights_only=True)["network"]
    result = without_timings(json.loads(run.result.read_text()))
    return (
        metrics(run),
        {key: result[key] for key in ("name", "test_acc", "train_loss", "firing_rate")},
        weights,
    )


@pytest.mark.slow
def test_a_killed_run_fails_alone_and_retried_ends_as_if_undisturbed(capsys: pytest.CaptureFixture) -> None:
    grid = ["-m", "seed=0,1", *SHORT, "trainer.epochs=16", "sweep.name=killed"]
    launcher = ["hydra/launcher=local", "hydra.launcher.processes=2"]
    assert main([*grid, *launcher, "wait=false"]) == 0
    sweep = Path("runs/killed")
    assert len(SweepFolder(sweep).runs()) == 2
    (victim, *_) = wait_for(lambda: at_work(sweep))
    os.kill(read_json(victim / "status.json")["pid"], signal.SIGKILL)
    capsys.readouterr()
    assert main([*grid, *launcher]) == 1  # comes back to the jobs, and starts none
    told = capsys.readouterr()
    assert (
        "submitted" not in told.out
        and "killed by SIGKILL" in told.out
        and "1 of the cells failed" in told.err
    )
    states = dict(zip(SweepFolder(sweep).runs(), observe(SweepFolder(sweep).runs()), strict=True))
    assert states.pop(victim).name == "failed" and {s.name for s in states.values()} == {"done"}

    assert cli.main(["status", str(sweep)]) == 1
    assert "1 done, 1 failed" in capsys.readouterr().out
    assert main([*grid, *launcher, "wait=false"]) == 1  # a failed one is not begun again unasked
    assert cli.main(["retry", str(sweep)]) == 0
    assert main([*grid, "runs_dir=undisturbed"]) == 0
    for folder in SweepFolder(sweep).runs():
        mine, theirs = final(folder), final(Path("undisturbed/killed") / folder.name)
        assert mine[:2] == theirs[:2]
        assert all(torch.equal(mine[2][key], value) for key, value in theirs[2].items())


@pytest.mark.slow
def test_cancelled_runs_save_and_go_on_when_the_sweep_is_started_again(capsys: pytest.CaptureFixture) -> None:
    grid = ["-m", "seed=0,1", *SHORT, "trainer.epochs=40", "sweep.name=cancelled"]
    launcher = ["hydra/launcher=local", "hydra.launcher.processes=1"]
    assert main([*grid, *launcher, "wait=false"]) == 0
    sweep = Path("runs/cancelled")
    (first, *_) = wait_for(lambda: at_work(sweep))
    capsys.readouterr()
    assert cli.main(["cancel", str(sweep)]) == 0
    assert "2 cancelled" in capsys.readouterr().out
    runs = SweepFolder(sweep).runs()
    assert [state.name for state in observe(runs)] == ["cancelled", "cancelled"]
    assert (first / "checkpoints" / "last.pt").exists()
    assert cli.main(["cancel", str(sweep)]) == 0 and "nothing to cancel" in capsys.readouterr().out
    # The dry run tells what a start would do, and does nothing.
    assert main([*grid, "--dry-run"]) == 0
    assert "2 to run; nothing was started" in capsys.readouterr().out
    assert [state.name for state in observe(runs)] == ["cancelled", "cancelled"]


@pytest.mark.parametrize(
    ("settings", "gpus", "cores", "devices", "threads"),
    [
        (LocalSettings(), ["0", "1", "3"], 16, ("0", "1", "3"), None),
        (LocalSettings(processes=4), ["0", "1"], 16, ("0", "1", "0", "1"), None),
        (LocalSettings(), [], 8, (None,) * 4, 2),
        (LocalSettings(), [], 1, (None,), 1),
        (LocalSettings(processes=3), [], 8, (None,) * 3, 2),
        (LocalSettings(processes=2, threads=5), [], 8, (None,) * 2, 5),
    ],
)
def test_every_process_has_a_device_or_a_share_of_the_cores(
    settings: LocalSettings, gpus: list[str], cores: int, devices: tuple, threads: int | None
) -> None:
    slots = share_out(settings, gpus, cores)
    assert (slots.devices, slots.threads) == (devices, threads)


@pytest.mark.parametrize(
    ("told", "there", "gpus"),
    [
        (None, 2, ["0", "1"]),
        (None, 0, []),
        ("-1", 0, []),
        ("NoDevFiles", 0, []),
        ("", 0, []),
        ("0,1", 0, []),  # left over on a machine without a GPU
        ("3, 1", 2, ["3", "1"]),
        ("3,-1,1", 1, ["3"]),  # as CUDA reads it
        ("GPU-8f0e,MIG-11/7/0", 2, ["GPU-8f0e", "MIG-11/7/0"]),
    ],
)
def test_the_gpus_are_those_that_cuda_sees(
    monkeypatch: pytest.MonkeyPatch, told: str | None, there: int, gpus: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if told is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert visible_gpus() == gpus


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (["cpu", "cpu"], Slots((None,) * 4, 2)),  # the GPUs are left alone, the cores are shared out
        (["auto", "cuda"], Slots(("0", "1"), None)),
        (["cpu", "cuda"], Slots(("0", "1"), 4)),
    ],
)
def test_cores_are_shared_out_by_what_the_runs_use(
    monkeypatch: pytest.MonkeyPatch, devices: list[str], expected: Slots
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(local, "usable_cores", lambda: 8)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    folders = [Path(str(number)).absolute() for number in range(len(devices))]
    for folder, device in zip(folders, devices, strict=True):
        folder.mkdir()
        write_config(folder / "config.yaml", compose_cell([f"trainer.device={device}"]).values)
    assert local.Local({}).slots(folders) == expected


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "hydra.launcher.processes=0",
            "hydra.launcher.processes=0: must be null or a whole number",
        ),
        ("hydra.launcher.processes=abc", "hydra.launcher.processes=abc"),
        ("hydra.launcher.foo=1", "hydra.launcher.foo: no such key"),
        ("wait=perhaps", "wait=perhaps: must be true or false"),
        ("hydra/launcher=basic", "hydra/launcher=basic: choose one of inline, local, slurm"),
        ("hydra/launcher=slurm", "there is no sbatch on this machine"),
        ("hydra.sweeper.pairs=3", "hydra.sweeper.pairs=3: must be a list"),
        ("eval_only=true", "hydra/launcher=local: evaluation runs here"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, override: str, told: str
) -> None:
    if "slurm" in override:
        monkeypatch.setenv("PATH", "/nowhere")
    assert main(["-m", "seed=0,1", "hydra/launcher=local", override]) == 2
    assert told in capsys.readouterr().err and list(Path().iterdir()) == []


@pytest.mark.slow
def test_a_run_folder_that_is_deleted_or_damaged_while_queued_takes_no_other_with_it(
    capsys: pytest.CaptureFixture,
) -> None:
    grid = ["-m", "seed=0,1,2,3", *SHORT, "sweep.name=gone"]
    launcher = ["hydra/launcher=local", "hydra.launcher.processes=1"]
    assert main([*grid, *launcher, "wait=false"]) == 0
    sweep = SweepFolder(Path("runs/gone"))
    _, second, third, last = sweep.runs()
    shutil.rmtree(second)
    (third / "config.yaml").write_text("{trainer: ")
    (state,) = wait_for(lambda: [s for s in observe([last]) if not s.at_work])
    assert state.name == "done"
    (state,) = observe([third])
    assert state.name == "failed" and "config.yaml: cannot be read" in state.reason


@pytest.mark.slow
def test_a_killed_pool_leaves_its_run_at_work_and_what_it_had_not_begun_is_lost() -> None:
    grid = ["-m", "seed=0,1", *SHORT, "trainer.epochs=400", "sweep.name=poolless"]
    launcher = ["hydra/launcher=local", "hydra.launcher.processes=1"]
    assert main([*grid, *launcher, "wait=false"]) == 0
    sweep = Path("runs/poolless")
    (first,) = wait_for(lambda: at_work(sweep))
    pool = read_json(first / "status.json")["job_id"].removeprefix("local-").partition("@")[0]
    os.kill(int(pool), signal.SIGKILL)
    os.waitpid(int(pool), 0)
    states = observe(SweepFolder(sweep).runs())
    assert [(s.name, s.at_work) for s in states] == [("running", True), ("lost", False)]
    assert cli.main(["cancel", str(first)]) == 0
    assert observe([first])[0].name == "cancelled" and (first / "checkpoints" / "last.pt").exists()


def test_a_pool_that_is_told_to_stop_fails_nothing() -> None:
    grid = ["-m", "seed=0,1", *SHORT, "trainer.epochs=400", "sweep.name=stopped"]
    assert main([*grid, "hydra/launcher=local", "hydra.launcher.processes=2", "wait=false"]) == 0
    runs = SweepFolder(Path("runs/stopped")).runs()
    pool = int(read_json(runs[0] / "status.json")["job_id"].removeprefix("local-").partition("@")[0])
    wait_for(lambda: len(Path(f"/proc/{pool}/task/{pool}/children").read_text().split()) == 2)
    os.kill(pool, signal.SIGTERM)  # both load their libraries yet
    os.waitpid(pool, 0)
    assert {state.name for state in observe(runs)} <= {"lost", "preempted"}


def test_a_job_that_begins_while_its_run_is_marked_waits_for_the_mark(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with run_lock(tmp_path):
        waiting = threading.Thread(target=lambda: locks.append(record._lock(run)))
        locks: list = []
        waiting.start()
        time.sleep(0.2)
        assert locks == []
    waiting.join()
    assert len(locks) == 1


def test_a_sweep_retried_from_within_runs_where_it_was_started(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    short = [*SHORT, "trainer.epochs=1", "sweep.name=both"]
    assert main(["-m", "seed=0", *short]) == 0
    assert main(["-m", "grad_mode=bptt", "neuron=if", *short]) == 0
    capsys.readouterr()
    (folder, *_) = SweepFolder(Path("runs/both")).runs()
    (folder / "result.json").unlink()
    monkeypatch.chdir("runs/both")
    seen = []

    def noting(*args: Any) -> Any:
        seen.append(Path.cwd())
        return start(*args)

    monkeypatch.setattr(retry, "start", noting)
    assert cli.main(["retry", "."]) == 0
    told = capsys.readouterr().out
    assert "2 cells: 1 done, 1 lost" in told and not Path("single").exists()
    assert seen == [tmp_path] and Path.cwd() == tmp_path / "runs" / "both"
