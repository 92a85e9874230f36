"""`rbp init` writes a repository that composes, trains, is tested and is submitted as it is."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import rbp
from rbp.cli import main
from rbp.cli.init import TEMPLATE, package_name
from rbp.config.composition.places import CONF, ROOT
from rbp.errors import ConfigError
from rbp.runs.result import read_result
from tests.support.labs import git, new_lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A lab's repository as the working directory; its package is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = new_lab(tmp_path / "own-lab", commit=True)
    monkeypatch.chdir(folder)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_lab"]:
        del sys.modules[name]


def in_a_process(folder: Path, *words: str) -> str:
    """What a command prints there, where rbp is this checkout's; it must succeed."""
    more = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=os.environ | more,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_says_what_it_wrote_and_what_is_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = new_lab(tmp_path / "own-lab")
    *written, _, next_, go, first, test = capsys.readouterr().out.splitlines()
    there = {file for file in folder.rglob("*") if file.is_file() and ".git" not in file.parts}
    assert {Path(line) for line in written if ": " not in line} == there
    assert [next_, go, first, test] == [
        "Next:", f"  cd {folder}", "  rbp train sweeps=first", "  python -m pytest"
    ]  # fmt: skip
    assert {file.relative_to(folder).as_posix() for file in there} == {
        ".gitignore",
        "README.md",
        "conf/arch/own_lab_net.yaml",
        "conf/hydra/launcher/mycluster.yaml",
        "conf/loss/own_lab_focal.yaml",
        "conf/neuron/own_lab_lif.yaml",
        "own_lab/__init__.py",
        "own_lab/losses.py",
        "own_lab/nets.py",
        "pyproject.toml",
        "sweeps/first.yaml",
        "sweeps/time_steps.yaml",
        "tests/test_nets.py",
    }
    assert not any("mylab" in file.read_text() or "mylab" in str(file) for file in there)
    assert tomllib.loads((folder / "pyproject.toml").read_text())["project"]["name"] == "own_lab"


def test_git_knows_all_of_it_but_the_runs(tmp_path: Path) -> None:
    folder = new_lab(tmp_path / "own-lab")
    (folder / "runs").mkdir()
    (folder / "runs" / "log.txt").touch()
    git(folder, "add", ".")
    assert git(folder, "ls-files").count("\n") == 12
    inner = new_lab(folder / "inner")
    assert not (inner / ".git").exists()  # it is in a repository


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("2nd", "take letters, digits and _, a letter first"),
        ("my.lab", "take letters"),
        ("class", "no word of Python's"),
        ("_lab", "a letter first"),
        ("tests", "is the name of a folder beside the package"),
        ("json", "Python has a package json already"),
        ("torch", "Python has a package torch already"),
        ("rbp", "Python has a package rbp already"),
    ],
)
def test_a_name_that_no_package_can_have_is_refused(
    here: Path, name: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", name]) == 2
    assert told in capsys.readouterr().err and list(here.iterdir()) == []


def test_a_folder_in_use_is_refused_and_left_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "own_lab").mkdir()
    (here / "own_lab" / "notes.txt").touch()
    (here / "file").touch()
    assert main(["init", "own_lab"]) == 2
    assert "own_lab: is not empty, notes.txt is in it; name a new folder" in capsys.readouterr().err
    assert len(list(here.rglob("*"))) == 3
    assert main(["init", "file"]) == 2 and "file: is a file" in capsys.readouterr().err
    assert main(["init", "file/lab"]) == 2 and "cannot be written" in capsys.readouterr().err
    (here / "own_lab" / "notes.txt").unlink()
    git(here / "own_lab", "init", "-q")  # such as an empty repository that was just cloned
    assert main(["init", "own_lab"]) == 0 and (here / "own_lab" / "conf").is_dir()


def test_the_package_is_named_by_the_folder(here: Path) -> None:
    assert package_name(here / "a-b-c") == "a_b_c"
    (here / "spiking").mkdir()
    assert package_name(here / "spiking") == "spiking"  # an empty folder is no package yet
    with pytest.raises(ConfigError):
        package_name(Path("/"))


def test_the_launcher_file_has_every_key_of_ours_at_its_value() -> None:
    ours, labs = (
        yaml.safe_load((folder / "hydra" / "launcher" / file).read_text())
        for folder, file in ((CONF, "slurm.yaml"), (TEMPLATE / "conf", "mycluster.yaml"))
    )
    assert ours == labs


def test_its_grids_compose_with_its_own_options(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for launcher in ("inline", "local", "mycluster"):
        assert main(["train", "sweeps=first", "--dry-run", f"hydra/launcher={launcher}"]) == 0
        assert "4 cells: 4 new. 4 to run; nothing was started" in capsys.readouterr().out
    assert main(["train", "sweeps=time_steps", "--dry-run"]) == 0
    assert "10 cells: 10 new" in capsys.readouterr().out
    assert not (lab / "runs").exists()


@pytest.mark.slow
def test_its_own_tests_pass(lab: Path) -> None:
    assert "7 passed" in in_a_process(lab, "pytest", "-p", "no:cacheprovider", "-p", "no:xdist")
    assert git(lab, "status", "--porcelain") == ""


def test_a_cell_trains_here_and_loads_again(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["train", "sweeps=first", "trainer=debug", "grad_mode=rate", "seed=1", "trainer.threads=1"]
    assert main(line) == 0
    (run,) = (lab / "runs" / "first").glob("digits-own_lab_net-T4-m-rate-s1-*")
    result = read_result(run)
    assert result is not None and result["code"]["targets"][0].startswith("own_lab.nets.")
    assert result["git"]["own_lab"] == {"commit": git(lab, "rev-parse", "HEAD"), "changed": False}
    capsys.readouterr()
    assert main(["eval", str(run)]) == 0
    assert f"{100 * result['test_acc']:.2f}%" in capsys.readouterr().out
    net, cfg = rbp.load(run)
    assert type(net[3]).__module__ == "own_lab.nets" and cfg.arch.width == 32  # type: ignore[index]
    told = in_a_process(lab, "rbp", "eval", str(run))  # where nobody has imported the package before
    assert f"{100 * result['test_acc']:.2f}%" in told


@pytest.mark.slow
def test_the_grid_trains_in_processes_side_by_side(lab: Path) -> None:
    words = ("trainer=debug", "trainer.threads=1", "hydra/launcher=local", "hydra.launcher.processes=2")
    told = in_a_process(lab, "rbp", "train", "sweeps=first", *words)
    assert "Report: runs/first/report.html" in told
    results = [read_result(run) for run in (lab / "runs" / "first").glob("digits-*")]
    assert len(results) == 4 and all(results)
    (copy,) = {folder.parent for folder in (lab / "runs" / "first" / ".sweep" / "code").rglob("own_lab")}
    assert (copy / "own_lab" / "nets.py").exists()
