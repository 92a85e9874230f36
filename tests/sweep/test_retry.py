"""`rbp retry` runs each run where it was asked for, also if later starts of the sweep went elsewhere."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rbp import cli
from rbp.runs.start import read_start
from rbp.runs.status import mark
from rbp.sweep.launch import main
from rbp.sweep.state.sweepfolder import SweepFolder

CELL = ["trainer=debug", "tracker=none", "trainer.device=cpu", "trainer.threads=1"]
LOCAL = ["hydra/launcher=local", "hydra.launcher.processes=1"]


def started(launcher: str, place: str = "/there") -> dict[str, Any]:
    return {"launcher": {"name": launcher}, "working_directory": place}


def test_a_record_keeps_where_the_runs_of_each_start_went(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path)
    sweep.control.mkdir()
    sweep.note(started("slurm"), {"a": {}, "b": {}})
    sweep.note(started("local"), {"c": {}})
    sweep.note(started("local", "/elsewhere"), {"d": {}})
    sweep.note(started("slurm"), {"b": {}, "e": {}})
    where = {run: sweep.start_of(run) for run in "abcde"}
    assert where["a"] == where["b"] == where["e"] == started("slurm")
    assert where["c"] == started("local") and where["d"] == started("local", "/elsewhere")
    sweep.note(started("inline"), {run: {} for run in "abcde"})
    assert all(sweep.start_of(run) == started("inline") for run in "abcde")
    assert "earlier" not in sweep.record.read_text()


@pytest.mark.parametrize("earlier", ["3", "[3]", "[{runs: 3}]", "[{runs: [[1], a]}]", "[{launcher: x}]"])
def test_a_damaged_record_still_gives_an_answer(tmp_path: Path, earlier: str) -> None:
    sweep = SweepFolder(tmp_path)
    sweep.control.mkdir()
    sweep.record.write_text(f"launcher: {{name: local}}\nearlier: {earlier}\ncells: {{b: {{}}}}\n")
    assert sweep.start_of("b")["launcher"] == {"name": "local"}


@pytest.mark.slow
def test_each_run_goes_where_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*CELL, *LOCAL, "seed=1"]) == 0 and main([*CELL, "-m", "seed=2"]) == 0
    runs = SweepFolder(Path("runs/single")).runs()
    for run in runs:
        (run / "result.json").unlink()
        mark(run, "failed", error="so that it is run again")
    capsys.readouterr()
    assert cli.main(["retry", "runs/single"]) == 0
    told = capsys.readouterr().out
    assert "1 submitted to local." in told and "[1/1] seed=2: going on" in told


@pytest.mark.slow
def test_a_single_run_goes_where_it_was_asked_for_whatever_grid_came_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*CELL, "seed=1"]) == 0 and main([*CELL, *LOCAL, "-m", "seed=2"]) == 0
    runs = SweepFolder(Path("runs/single")).runs()
    starts = {run.name.split("-")[-2]: read_start(run) for run in runs}
    assert {seed: start and start["launcher"]["name"] for seed, start in starts.items()} == {
        "s1": "inline",
        "s2": "local",
    }
    assert all(start and start["working_directory"] == str(tmp_path) for start in starts.values())
    for run in runs:
        (run / "result.json").unlink()
    capsys.readouterr()
    assert cli.main(["retry", "runs/single"]) == 0
    told = capsys.readouterr().out
    assert "[1/1] seed=1: going on" in told and "1 submitted to local." in told


@pytest.mark.slow
def test_without_its_own_word_the_last_start_of_the_sweep_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a submission leaves a run that is killed before it has noted what it started."""
    monkeypatch.chdir(tmp_path)
    assert main([*CELL, "seed=1"]) == 0
    sweep = SweepFolder(Path("runs/single"))
    sweep.control.mkdir()
    sweep.note({"launcher": {"name": "local", "processes": 1}, "working_directory": str(tmp_path)}, {})
    (single,) = sweep.runs()
    (single / "result.json").unlink()
    (single / "start.json").write_text('{"launcher": {"name": "of another version"}}')
    capsys.readouterr()
    assert cli.main(["retry", "runs/single"]) == 0
    assert "1 submitted to local." in capsys.readouterr().out


def test_a_run_notes_the_commit_of_the_repository_it_was_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = ["-c", "user.name=me", "-c", "user.email=me@here", "commit", "-q", "--allow-empty", "-m", "one"]
    for arguments in (["init", "-q"], commit):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    head = subprocess.run(["git", "-C", str(tmp_path), "rev-parse", "HEAD"], capture_output=True, text=True)
    (tmp_path / "experiments").mkdir()
    monkeypatch.chdir(tmp_path / "experiments")
    assert main([*CELL, "seed=1"]) == 0
    start = read_start(SweepFolder(Path("runs/single")).runs()[0])
    assert start is not None and start["git"] == {"commit": head.stdout.strip(), "changed": False}


def test_a_sweep_whose_record_is_gone_is_not_run_on_the_login_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*CELL, "-m", "seed=1"]) == 0
    (run,) = SweepFolder(Path("runs/single")).runs()
    (run / "result.json").unlink()
    (run / "start.json").unlink()  # as an earlier version left it
    SweepFolder(Path("runs/single")).record.write_text("cells: {}")
    assert cli.main(["retry", "runs/single"]) == 2
    assert "sweep.yaml: launcher None: must be one of inline, local, slurm" in capsys.readouterr().err
    assert not (run / "result.json").exists()


def test_runs_of_two_folders_are_not_retried_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each folder may have a package of one name: only one of them can be imported."""
    for seed, place in enumerate(("a", "b")):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        assert main([*CELL, "-m", f"seed={seed}", f"runs_dir={tmp_path / 'runs'}"]) == 0
    runs = SweepFolder(tmp_path / "runs" / "single").runs()
    for run in runs:
        (run / "result.json").unlink()
    capsys.readouterr()
    assert cli.main(["retry", str(tmp_path / "runs" / "single")]) == 2
    told = capsys.readouterr().err
    assert "started in several folders" in told and "such as seed=0" in told
    assert cli.main(["retry", str(tmp_path / "runs" / "single"), "seed=0"]) == 0


def test_a_labs_package_is_found_from_wherever_a_retry_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, elsewhere = tmp_path / "lab", tmp_path / "elsewhere"
    for folder in (lab, elsewhere):
        folder.mkdir()
    (lab / "retried_losses.py").write_text(
        "from torch.nn.functional import cross_entropy\ndef mine(y, t): return 2 * cross_entropy(y, t)\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(lab)
    assert main([*CELL, "-m", "seed=0", "loss._target_=retried_losses.mine"]) == 0
    (run,) = SweepFolder(lab / "runs" / "single").runs()
    (run / "result.json").unlink()
    sys.path.remove(str(lab))
    del sys.modules["retried_losses"]
    monkeypatch.chdir(elsewhere)
    assert cli.main(["retry", str(lab / "runs" / "single")]) == 0
    assert (run / "result.json").exists() and str(lab) not in sys.path
