"""A lab's own package: its networks train from its own repository, here and in jobs, as submitted."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbp.runs.result import read_result
from rbp.sweep.launch import main
from rbp.sweep.launchers.snapshot import LARGEST, take_snapshots

NET = """
from torch import nn
from {lab}.parts import WIDTH
def mlp(neuron, in_channels, classes, width=WIDTH):
    layers = [nn.Flatten(), nn.Linear(64 * in_channels, width), neuron(), nn.Linear(width, classes)]
    return nn.Sequential(*layers)
"""
SHORT = ["trainer=debug", "trainer.device=cpu", "trainer.threads=1", "tracker=none", "tracker.mode=disabled"]


def write_lab(root: Path, lab: str) -> None:
    """Write a package with a network, and an option of the group arch for it."""
    (root / lab).mkdir(parents=True)
    (root / lab / "__init__.py").write_text("")
    (root / lab / "parts.py").write_text("WIDTH = 8\n")
    (root / lab / "nets.py").write_text(NET.format(lab=lab))
    (root / "conf" / "arch").mkdir(parents=True)
    (root / "conf" / "arch" / "mlp.yaml").write_text(f"_target_: {lab}.nets.mlp\nname: mlp\nwidth: 8\n")


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", root, *arguments], check=True, capture_output=True)


@pytest.fixture
def path_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The import path, and the modules of labs, as they were before."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield monkeypatch
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("lab_")]:
        del sys.modules[name]


def names(copy: Path) -> set[str]:
    return {file.relative_to(copy).as_posix() for file in copy.rglob("*") if file.is_file()}


@pytest.mark.parametrize("place", ["packages", "repository", "src"])
def test_the_packages_that_targets_import_are_copied(
    tmp_path: Path, path_kept: pytest.MonkeyPatch, place: str
) -> None:
    lab = f"lab_{place}"
    root = tmp_path / "mine" / ("src" if place == "src" else "")
    write_lab(root, lab)
    (root / "unrelated.txt").write_text("not of the package")
    (root / lab / "table.bin").write_bytes(bytes(10))
    if place != "packages":
        git(tmp_path / "mine", "init", "-q")
        git(tmp_path / "mine", "add", ".")
        (root / lab / "new.py").write_text("")  # not yet known to git
    path_kept.syspath_prepend(str(root))
    values = {"arch": {"_target_": f"{lab}.nets.mlp"}}
    mine, ours = take_snapshots(tmp_path / "code", [values, values])
    assert (ours / "rbp" / "__init__.py").exists()
    package = {f"{lab}/{file}" for file in ("__init__.py", "parts.py", "nets.py", "table.bin")}
    if place == "packages":
        assert names(mine) == package
    else:
        assert names(mine) >= package | {f"{lab}/new.py"}
    (root / lab / "parts.py").write_text("WIDTH = 4\n")
    assert (mine / lab / "parts.py").read_text() == "WIDTH = 8\n"
    assert take_snapshots(tmp_path / "code", [values])[0] != mine


def test_a_package_inside_a_repository_that_ignores_it_is_copied_by_itself(
    tmp_path: Path, path_kept: pytest.MonkeyPatch
) -> None:
    write_lab(tmp_path / "home" / "work", "lab_ignored")
    (tmp_path / "home" / ".gitignore").write_text("work\n")
    git(tmp_path / "home", "init", "-q")
    path_kept.syspath_prepend(str(tmp_path / "home" / "work"))
    mine, _ = take_snapshots(tmp_path / "code", [{"arch": {"_target_": "lab_ignored.nets.mlp"}}])
    assert names(mine) == {f"lab_ignored/{file}" for file in ("__init__.py", "parts.py", "nets.py")}


def test_a_large_file_is_linked(tmp_path: Path, path_kept: pytest.MonkeyPatch) -> None:
    write_lab(tmp_path / "mine", "lab_large")
    with (tmp_path / "mine" / "lab_large" / "weights.bin").open("wb") as stream:
        stream.truncate(LARGEST + 1)
    path_kept.syspath_prepend(str(tmp_path / "mine"))
    mine, _ = take_snapshots(tmp_path / "code", [{"arch": {"_target_": "lab_large.nets.mlp"}}])
    assert (mine / "lab_large" / "weights.bin").is_symlink()


def test_targets_of_rbp_and_of_libraries_alone_need_no_further_copy(tmp_path: Path) -> None:
    values = {
        "arch": {"_target_": "rbp.models.digits.digits_cnn"},
        "optimizer": {"_target_": "torch.optim.SGD"},
    }
    assert len(take_snapshots(tmp_path / "code", [values])) == 1


@pytest.mark.slow
def test_a_network_of_the_working_directory_trains_here_and_in_jobs(
    here: Path, path_kept: pytest.MonkeyPatch
) -> None:
    write_lab(here, "lab_here")
    assert main(["arch=mlp", *SHORT]) == 0
    assert main(["arch=mlp", "arch.width=4,8", "sweep.name=two", *SHORT, "-m", "hydra/launcher=local"]) == 0
    single, *two = [*Path("runs/single").glob("digits-*"), *sorted(Path("runs/two").glob("digits-*"))]
    results = [read_result(folder) for folder in (single, *two)]
    assert all(result is not None for result in results) and len(two) == 2
    assert {result["code"]["hash"] for result in results if result} == {results[0]["code"]["hash"]}  # type: ignore[index]
    assert main(["arch=mlp", "arch.width=4,8", "sweep.name=two", *SHORT, "-m", "hydra/launcher=local"]) == 0
