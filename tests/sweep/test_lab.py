"""A lab's own package: its networks train from its own repository, here and in jobs, as submitted."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbp.provenance import git_commits
from rbp.provenance.commits import commit_of
from rbp.runs.result import read_result
from rbp.sweep.grid.command_line import read_command_line
from rbp.sweep.launch import main, read_grid
from rbp.sweep.launchers.snapshot import LARGEST, take_snapshots
from rbp.sweep.preflight import preflight

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


UNRULED = """
from torch import nn
class Odd(nn.Module):
    def __init__(self, act): super().__init__(); self.act = act
    def forward(self, x): return self.act(x)
class Reads(nn.Linear):
    def forward(self, x): return x * float(self.weight.sum())
def net(neuron, in_channels, classes, odd):
    middle = {"none": [], "softmax": [Odd(nn.Softmax(-1))], "reads": [Reads(8, 8)]}[odd]
    layers = [nn.Flatten(), nn.Linear(64 * in_channels, 8), neuron(), *middle, nn.Linear(8, classes)]
    return nn.Sequential(*layers)
"""


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_network_without_a_rule_is_refused_before_the_first_cell(
    here: Path, path_kept: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], step_mode: str
) -> None:
    Path("lab_unruled.py").write_text(UNRULED)
    Path("conf/arch").mkdir(parents=True)
    Path("conf/arch/odd.yaml").write_text("_target_: lab_unruled.net\nname: odd\nodd: none\n")
    line = ["-m", "arch=odd", f"step_mode={step_mode}", "arch.odd=none,softmax", *SHORT]
    assert main([*line, "grad_mode=rate"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: arch=odd with neuron=lif: rate mode has no rule for 3.act")
    assert len(told.splitlines()) == 1 and not Path("runs").exists()
    line[3] = "arch.odd=none,reads"  # cannot be tried without values, and is left to training
    (none, reads), _, _ = read_grid(read_command_line([*line, "grad_mode=rate"]))
    preflight([none, reads], trials=True)


def test_the_commits_of_both_are_known_in_a_repository_and_in_a_copy(
    tmp_path: Path, path_kept: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "mine"
    write_lab(root, "lab_commits")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "-c", "user.name=me", "-c", "user.email=me@there", "commit", "-q", "-m", "first")
    path_kept.syspath_prepend(str(root))
    values = {"arch": {"_target_": "lab_commits.nets.mlp"}}
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    commits = git_commits(values)
    assert commits["lab_commits"] == {"commit": head.strip(), "changed": False} and "torch" not in commits
    (root / "lab_commits" / "parts.py").write_text("WIDTH = 4\n")
    mine, _ = take_snapshots(tmp_path / "code", [values])
    assert commit_of(mine / "lab_commits" / "__init__.py") == {"commit": head.strip(), "changed": True}
    (root / "lab_commits" / "untracked.py").write_text("")
    assert commit_of(root / "lab_commits" / "untracked.py") is None


GATED = """
from spikingjelly.activation_based import neuron
def gated(T): return neuron.GatedLIFNode(T=T, inplane=None)
"""


@pytest.mark.parametrize("T", [1, 2, 5])
def test_a_neuron_made_for_its_number_of_steps_is_tried_with_that(
    here: Path, path_kept: pytest.MonkeyPatch, T: int
) -> None:
    Path("lab_gated.py").write_text(GATED)
    Path("conf/neuron").mkdir(parents=True)
    Path("conf/neuron/gated.yaml").write_text("_target_: lab_gated.gated\nname: gated\nT: ${T}\n")
    line = ["neuron=gated", f"T={T}", "grad_mode=rate", *SHORT, "--dry-run"]
    path_kept.syspath_prepend(str(here))
    cells, _, _ = read_grid(read_command_line(line))
    preflight(cells, trials=True)


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


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("arch._target_=nolab.nets.net", "arch._target_=nolab.nets.net: cannot be imported"),
        ("neuron._target_=rbp.models.neurons.nosuch", "neuron._target_=rbp.models.neurons.nosuch: cannot be"),
        ("loss._target_=nolab.losses.focal", "loss._target_=nolab.losses.focal: cannot be imported"),
        ("dataset._target_=nolab.data.set", "dataset._target_=nolab.data.set: must name a function"),
        ("optimizer._target_=torch.optim.Nosuch", "optimizer=sgd: "),
        ("+arch.width=3", "arch=digits_cnn: rbp.models.digits.digits_cnn takes other keys"),
        ("+neuron.beta=3", "neuron=lif: rbp.models.neurons.lif takes other keys"),
        ("+loss.gamma=3", "loss=time_mean: rbp.train.step.loss.cross_entropy takes other keys"),
        ("neuron=lacking", "neuron=lacking: rbp.models.neurons.lif takes other keys: missing"),
    ],
)
@pytest.mark.parametrize("grid", [True, False])
def test_a_dry_run_refuses_what_cannot_be_built(
    here: Path, capsys: pytest.CaptureFixture[str], wrong: str, told: str, grid: bool
) -> None:
    Path("conf/neuron").mkdir(parents=True)
    Path("conf/neuron/lacking.yaml").write_text("_target_: rbp.models.neurons.lif\nname: lacking\n")
    more = ["-m", "seed=0,1"] if grid else []
    assert main([wrong, "--dry-run", *more]) == 2
    said = capsys.readouterr()
    assert told in said.err and "to run" not in said.out


UNFIT = """
from torch import nn
def net(neuron, in_channels, classes, inside, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, 8), neuron(), nn.Linear(inside, outputs))
"""


@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("inside: 9\noutputs: 10", "arch=unfit with neuron=lif: cannot take images [1, 8, 8]: "),
        ("inside: 8\noutputs: 7", "arch=unfit with neuron=lif: has 7 outputs; must be dataset.classes=10"),
        ("inside: 8\noutputs: 11", "arch=unfit with neuron=lif: has 11 outputs; must be dataset.classes=10"),
        ("inside: 8\noutputs: 10", ""),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_refused_before_the_first_cell(
    here: Path,
    path_kept: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    keys: str,
    told: str,
    grad_mode: str,
) -> None:
    Path("lab_unfit.py").write_text(UNFIT)
    Path("conf/arch").mkdir(parents=True)
    Path("conf/arch/unfit.yaml").write_text(f"_target_: lab_unfit.net\nname: unfit\n{keys}\n")
    code = main(["-m", "arch=unfit", f"grad_mode={grad_mode}", "seed=0,1", *SHORT, "--dry-run"])
    assert code == (2 if told else 0) and told in capsys.readouterr().err
