"""The package as people have it: a wheel, an editable install, a plain checkout, a job's copy of the code."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml

import rbp
from rbp.config.composition.places import ROOT
from rbp.sweep.launchers.snapshot import take_snapshot

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = sysconfig.get_paths()["purelib"]  # of the environment that runs the tests
SHORT = ("trainer=debug", "tracker=none", "trainer.threads=1")


class Environment:
    """A virtual environment of its own that has rbp's dependencies, and rbp only if it is installed there."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.bin = folder / "bin"
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "dependencies.pth").write_text(f"{DEPENDENCIES}\n")  # whose own .pth files are not read
        self.site = site

    def install(self, *what: str) -> None:
        pip: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            self.bin / "python",
            "install",
            "--quiet",
        ]
        offline = ["--no-deps", "--no-index", "--no-build-isolation", "--force-reinstall"]
        subprocess.run([*pip, *offline, *what], check=True, capture_output=True, text=True, timeout=120)

    def run(self, *words: str | Path, cwd: Path, **more: str) -> str:
        """What a command prints; it must succeed."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run(
            [self.bin / "python", *words] if str(words[0]).startswith("-") else words,
            cwd=cwd,
            env=inherited | {"PATH": f"{self.bin}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", **more},
            capture_output=True,
            text=True,
            timeout=250,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*build, "--no-build-isolation", "-w", folder, ROOT], check=True, timeout=120)
    (built,) = folder.iterdir()
    return built


LOOK = """
import sys
import rbp, rbp.cli
heavy = sys.modules.keys() & {"torch", "hydra", "wandb"}
assert not heavy, heavy
print(rbp.__file__)
"""


def place(environment: Environment, cwd: Path, **more: str) -> str:
    """The file of the package that is imported there; to import it loads nothing heavy."""
    return environment.run("-c", LOOK, cwd=cwd, **more).strip()


@pytest.mark.slow
def test_a_wheel_trains_sweeps_and_reports_from_an_empty_folder(
    environment: Environment, wheel: Path, empty: Path
) -> None:
    environment.install(str(wheel))
    assert environment.run("rbp", "--version", cwd=empty) == f"rbp {rbp.__version__}\n"
    assert environment.run("-m", "rbp", "--version", cwd=empty) == f"rbp {rbp.__version__}\n"
    assert place(environment, empty).startswith(str(environment.site))
    assert "quickstart" in environment.run("rbp", "train", "--help", cwd=empty)
    assert "Files: runs/single/digits-" in environment.run("rbp", "train", *SHORT, cwd=empty)
    grid = ("-m", "T=1,7", "sweep.name=two", "hydra/launcher=local", "hydra.launcher.processes=2")
    assert "Report: runs/two/report.html" in environment.run("rbp", "train", *grid, *SHORT, cwd=empty)
    (copy,) = (empty / "runs" / "two" / ".sweep" / "code").iterdir()
    assert (copy / "rbp" / "conf" / "config.yaml").exists()
    assert place(environment, empty, PYTHONPATH=str(copy)).startswith(str(copy))
    assert "2 runs: 2 done" in environment.run("rbp", "status", "runs/two", cwd=empty)
    environment.run("rbp", "report", "runs/two", "runs/single", "--out", "together", cwd=empty)
    assert (empty / "together" / "report.html").stat().st_size > 10_000
    engine = "from rbp.check.engine import *; print(check_engine(torch.device('cpu'), FLOAT32).status)"
    assert environment.run("-c", engine, cwd=empty) == "ok\n"  # its golden numbers travel in the wheel
    assert "needs no preparation" in environment.run("rbp", "data", "prepare", "digits", cwd=empty)
    assert "All 2 cells are done." in environment.run("rbp", "train", *grid, *SHORT, cwd=empty)
    assert "last, epoch 1" in environment.run("rbp", "eval", "runs/single", cwd=empty)
    environment.run("rbp", "init", "lab", cwd=empty)
    told = environment.run("rbp", "train", "sweeps=first", "--dry-run", cwd=empty / "lab")
    assert "4 cells: 4 new" in told


@pytest.mark.slow
def test_an_editable_install_works_anywhere_and_so_does_the_copy_that_replaces_it(
    environment: Environment, empty: Path
) -> None:
    environment.install("-e", str(ROOT))
    assert not (environment.site / "rbp").exists()  # no copy of conf/ that grows old
    assert place(environment, empty) == str(ROOT / "rbp" / "__init__.py")
    assert "1 to run" in environment.run("rbp", "train", "--dry-run", "T=7", cwd=empty)
    environment.install(f"{ROOT}[dashboard]")
    assert place(environment, empty).startswith(str(environment.site))
    assert "1 to run" in environment.run("rbp", "train", "--dry-run", "T=7", cwd=empty)


def test_a_checkout_needs_no_installation(environment: Environment, empty: Path) -> None:
    told = environment.run(
        environment.bin / "python", ROOT / "launch.py", "-m", "--dry-run", "T=7", cwd=empty
    )
    assert "1 to run" in told
    assert place(environment, ROOT) == str(ROOT / "rbp" / "__init__.py")


def test_a_jobs_copy_of_the_code_comes_first(environment: Environment, empty: Path) -> None:
    copy = take_snapshot(empty / "code")
    found = place(environment, empty, PYTHONPATH=str(copy), PYTHONSAFEPATH="1")
    assert found == str(copy / "rbp" / "__init__.py")


@pytest.mark.parametrize("target", ["hydra_plugins.rbp.Local", "rbp.sweep.launchers.local.Local"])
def test_a_launcher_file_of_ones_own_names_our_class_also_as_version_0_1_had_it(
    empty: Path, environment: Environment, target: str
) -> None:
    apart = ("tests", "runs", "data", "docs")
    checkout = shutil.copytree(str(ROOT), empty / "checkout", ignore=lambda folder, names: {
        name for name in names if name.startswith(".") or (folder == str(ROOT) and name in apart)
    })  # fmt: skip
    own = checkout / "conf" / "hydra" / "launcher" / "mine.yaml"
    own.write_text(f"_target_: {target}\nprocesses: 1\n")
    words = ("launch.py", "-m", "--dry-run", "hydra/launcher=mine", "T=2")
    assert "1 to run" in environment.run(environment.bin / "python", *words, cwd=checkout)


def test_what_is_imported_is_declared() -> None:
    template = ROOT / "rbp" / "template"  # a lab's repository, which declares what it imports itself
    files = [file for file in (ROOT / "rbp").rglob("*.py") if template not in file.parents]
    files.append(ROOT / "launch.py")
    imported = {name.partition(".")[0] for file in files for name in imports_of(file)}
    imported -= sys.stdlib_module_names | {"rbp", "__future__"}
    extras = PROJECT["optional-dependencies"]
    declared = [*PROJECT["dependencies"], *extras["dashboard"], *extras["pandas"], *extras["aedat"]]
    named = {re.split(r"[^\w-]", line)[0].lower() for line in declared}
    provided = dict(importlib.metadata.packages_distributions()) | {"wandb_workspaces": ["wandb-workspaces"]}
    for package in imported:
        assert named & {name.lower() for name in provided[package]}, f"{package} is not declared"


def imports_of(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module))
    return found


def test_the_distribution_has_a_name_and_a_version_of_its_own() -> None:
    assert PROJECT["name"] == "rbp-snn" and PROJECT["dynamic"] == ["version"]
    assert importlib.metadata.version("rbp-snn") == rbp.__version__


def test_the_package_shows_what_it_offers() -> None:
    asked = (
        "import rbp, sys; print(*dir(rbp)); assert 'torch' not in sys.modules; print(rbp.forward.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    names, forward = done.stdout.splitlines()
    offered = {"Step", "__version__", "backward", "cli", "forward", "load", "models", "rate", "runs"}
    assert set(names.split()) == offered
    assert forward == "forward"
    assert all(getattr(rbp, name) is not None for name in dir(rbp))
    with pytest.raises(AttributeError, match="no attribute 'backward_'"):
        _ = rbp.backward_


@pytest.mark.slow
def test_a_type_checker_sees_functions(empty: Path) -> None:
    lines = ["import rbp", "reveal_type(rbp.forward)", "reveal_type(rbp.rate.forward)"]
    lines += ["reveal_type(rbp.load)", "reveal_type(rbp.cli.main)", "reveal_type(rbp.models.build)"]
    (empty / "asked.py").write_text("\n".join(lines) + "\n")
    check = [sys.executable, "-m", "mypy", "--config-file=", "--ignore-missing-imports", "asked.py"]
    environment = os.environ | {"MYPYPATH": str(ROOT)}
    told = subprocess.run(check, cwd=empty, env=environment, capture_output=True, text=True).stdout
    assert (
        told.count('Revealed type is "def (net: torch.nn.modules.module.Module, x_seq: torch._tensor.Tensor')
        == 2
    )
    assert re.search(
        r'Revealed type is "def \(argv: [\w.]*Sequence\[[\w.]*str\] \| None =\) -> [\w.]*int"', told
    )
    assert re.search(
        r'Revealed type is "def \(run: [^"]* -> tuple\[torch.nn.modules.module.Module, omeg', told
    )
    assert 'Revealed type is "def (cfg: omegaconf.dictconfig.DictConfig) -> torch.nn' in told


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == rbp.__version__
    released = f"## [{rbp.__version__}] - {citation['date-released']}"
    assert released in (ROOT / "CHANGELOG.md").read_text().splitlines()
