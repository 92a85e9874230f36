"""A result is stale if and only if what its numbers depend on has changed."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rbp
from rbp.config.composition.places import ROOT
from rbp.provenance import code, code_version, imports, module_location, package_versions, syntax, why_stale

VGG = {"arch": {"_target_": "rbp.models.vgg.vgg11"}, "optimizer": {"_target_": "torch.optim.SGD"}}
RESNET = {"arch": {"_target_": "rbp.models.resnet.resnet18"}}
DIGITS = {"dataset": {"_target_": "rbp.data.static.digits.digits"}}
DIGITS_CNN = {
    "arch": {"_target_": "rbp.models.digits.digits_cnn"},
    "dataset": {"_target_": "rbp.data.static.digits.digits"},
    "neuron": {"_target_": "rbp.models.neurons.lif"},
    "optimizer": {"_target_": "torch.optim.SGD"},
}
LAB = {"arch": {"_target_": "mylab.nets.big.net"}}

Look = Callable[[dict[str, Any]], str]


def forget() -> None:
    """As a new process sees the files."""
    importlib.invalidate_caches()
    for cached in (
        module_location.is_own,
        module_location.find,
        module_location._installed,
        imports._read,
        code._hash,
        code._closure,
    ):
        cached.cache_clear()


@pytest.fixture
def look() -> Any:
    def look(config: dict[str, Any]) -> str:
        forget()
        return str(code_version(config)["hash"])

    yield look
    forget()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of rbp, which is found before the one that runs the tests."""
    folder = tmp_path / "checkout" / "rbp"
    shutil.copytree(Path(rbp.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def append(file: Path, line: str) -> None:
    file.write_text(file.read_text() + line + "\n")


@pytest.mark.slow
def test_a_change_counts_where_numbers_depend_on_it(package: Path, look: Look) -> None:
    before = {name: look(config) for name, config in (("vgg", VGG), ("resnet", RESNET), ("digits", DIGITS))}
    assert len(set(before.values())) == 3

    def changed() -> set[str]:
        now = {name: look(config) for name, config in (("vgg", VGG), ("resnet", RESNET), ("digits", DIGITS))}
        return {name for name in now if now[name] != before[name]}

    assert changed() == set()
    append(package / "models" / "vgg.py", "WIDTH = 3")
    assert changed() == {"vgg"}
    append(package / "data" / "static" / "digits.py", "SIDE = 3")
    assert changed() == {"vgg", "digits"}
    (package / "models" / "new.py").write_text("def new(neuron, in_channels, classes): ...\n")
    assert changed() == {"vgg", "digits"}
    append(package / "rate" / "neurons" / "scan.py", "STEPS = 3")
    assert changed() == {"vgg", "digits", "resnet"}


def test_the_engine_training_and_the_streams_count_for_every_run(package: Path, look: Look) -> None:
    seen = {look(RESNET)}
    for place in ("rate/neurons/scan.py", "train/optimizer.py", "seeds.py", "data/batches.py"):
        append(package / place, "import math")
        now = look(RESNET)
        assert now not in seen, place
        seen.add(now)


def test_what_a_run_is_called_says_or_shows_counts_for_none(package: Path, look: Look) -> None:
    before = look(RESNET)
    places = (
        "__init__.py config/schema.py errors.py terminal/output.py terminal/wrapping.py alignment.py "
        "runs/folder.py cli/__init__.py cli/data.py track/start.py report/write.py "
    )
    places += "sweep/launch.py bench/run.py provenance/code.py data/stage.py rate/errors.py "
    places += "train/telemetry/progress.py train/telemetry/record.py models/vgg.py check/engine.py"
    for place in places.split():
        append(package / place, "NEW = 3")
    assert look(RESNET) == before


def test_comments_docstrings_and_layout_do_not_count(package: Path, look: Look) -> None:
    before, file = look(RESNET), package / "models" / "resnet.py"
    text = file.read_text()
    assert '"""' in text
    lines = text.replace('"""', '"""Other words. ', 1).splitlines()
    file.write_text("\n\n".join(["# A comment.", *lines]).replace(", ", ",   "))
    assert file.read_text() != text and look(RESNET) == before


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of a lab's own, which must not be run to be looked at."""
    files = {
        "mylab/__init__.py": "raise SystemExit('imported')",
        "mylab/nets/__init__.py": "from mylab.nets import widths as _widths",
        "mylab/nets/big.py": (
            "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nimport einops\n"
            "from ..layers import conv\nfrom . import blocks\nif TYPE_CHECKING:\n    import mylab.shapes\n"
            "def net(neuron, in_channels, classes):\n    import mylab.late\n    return None\n"
            "import mylab.loose.inside, statistics\nfrom mylab.star import *\n"
            "from importlib import import_module\nimport_module('mylab.called')\n"
            "import_module('..calledtoo', __package__)\n"
        ),
        "mylab/nets/blocks.py": "try:\n    from mylab.fast import block\nexcept ImportError:\n    pass",
        "mylab/nets/widths.py": "W = 1",
        "mylab/layers.py": "from sibling import tool\nconv = 1",
        "mylab/late.py": "A = 1",
        "mylab/fast.py": "block = 1",
        "mylab/shapes.py": "S = 1",
        "mylab/unrelated.py": "U = 1",
        "sibling.py": "tool = 1",
        # What is imported in less usual ways.
        "mylab/loose/inside.py": "A = 1",  # a folder without __init__
        "mylab/star/__init__.py": "__all__ = ['one', 'two']",
        "mylab/star/one.py": "A = 1",
        "mylab/star/three.py": "A = 1",
        "mylab/called.py": "A = 1",
        "mylab/calledtoo.py": "A = 1",
        "statistics.py": "A = 1",  # stands before the standard library's
    }
    for name, content in files.items():
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_text(content + "\n")
    monkeypatch.syspath_prepend(tmp_path / "src")
    monkeypatch.setattr(code, "ENGINE", ())  # of which nothing is said here
    return tmp_path / "src"


@pytest.mark.parametrize(
    ("place", "counts"),
    [
        ("mylab/__init__.py", True),
        ("mylab/nets/__init__.py", True),
        ("mylab/nets/big.py", True),
        ("mylab/nets/blocks.py", True),
        ("mylab/nets/widths.py", True),
        ("mylab/layers.py", True),
        ("mylab/late.py", True),
        ("mylab/fast.py", True),
        ("sibling.py", True),
        ("mylab/loose/inside.py", True),
        ("mylab/star/__init__.py", True),
        ("mylab/star/one.py", True),
        ("mylab/called.py", True),
        ("mylab/calledtoo.py", True),
        ("statistics.py", True),
        ("mylab/star/three.py", False),
        ("mylab/shapes.py", False),
        ("mylab/unrelated.py", False),
    ],
)
def test_a_labs_own_package_counts_as_far_as_it_is_imported(
    lab: Path, look: Look, place: str, counts: bool
) -> None:
    before = look(LAB)
    append(lab / place, "NEW = 3")
    assert (look(LAB) != before) == counts
    assert "mylab" not in sys.modules


def test_a_file_that_is_no_python_counts_by_its_bytes(lab: Path, look: Look) -> None:
    (lab / "mylab" / "fast.py").write_text("def broken(:\n")
    before = look(LAB)
    append(lab / "mylab" / "fast.py", "# longer")
    assert look(LAB) != before


@pytest.mark.parametrize(
    ("origin", "counts"),
    [
        (None, False),
        ({"url": "file:///tmp", "dir_info": {}}, True),
        ({"url": "file:///gone/work", "dir_info": {}}, False),  # as Anaconda's packages have it
        ({"dir_info": 3}, False),
        (["dir_info"], False),
        ({"url": "https://example.org/mylab", "vcs_info": {"vcs": "git", "commit_id": "0"}}, True),
        ({"url": "file:///wheels/mylab-1-py3-none-any.whl", "archive_info": {}}, False),
    ],
)
def test_an_installed_package_counts_if_it_came_from_sources(
    lab: Path, look: Look, origin: dict[str, Any] | None, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = lab.parent / "lib" / "site-packages"
    shutil.move(lab, place)
    info = place / "mylab-1.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("mylab/__init__.py,,\nmylab/nets/big.py,,\nsibling.py,,\n")
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(place)
    before = look(LAB)
    append(place / "mylab" / "layers.py", "NEW = 3")
    assert (look(LAB) != before) == counts
    append(place / "mylab" / "nets" / "big.py", "NEW = 3")
    assert (look(LAB) != before) == counts


def test_third_party_packages_are_recorded_and_do_not_count(look: Look) -> None:
    versions = package_versions(VGG)
    assert {"torch", "spikingjelly", "torchvision"} <= versions.keys() and versions["torch"][0].isdigit()
    assert "pytest" not in versions
    for target in ("torch.optim.SGD", "rich.console.Console", "pytest.main", "json.loads"):
        assert look({"optimizer": {"_target_": target}}) == look({"optimizer": {}}), target


def test_what_pip_put_into_a_folder_of_ones_own_is_third_party(lab: Path, look: Look) -> None:
    (lab / "mylab-1.dist-info").mkdir()
    (lab / "mylab-1.dist-info" / "RECORD").write_text("mylab/__init__.py,,\n")
    before = look(LAB)
    append(lab / "mylab" / "nets" / "big.py", "NEW = 3")
    assert look(LAB) == before
    (lab / "mylab-1.dist-info" / "RECORD").write_text("another/__init__.py,,\n")
    assert look(LAB) != before


def test_targets_count_wherever_they_stand(package: Path, look: Look) -> None:
    nested = {"a": [{"b": {"_target_": "rbp.models.vgg.vgg11"}}]}
    before = look(nested)
    append(package / "models" / "vgg.py", "NEW = 3")
    assert look(nested) != before


@pytest.mark.parametrize(
    "content",
    [
        "x = 0x" + "f" * 5000,
        "x = " + "-" * 3000 + "1",
        "if 0: pass\n" + "elif 1: pass\n" * 3000,
        "\0",
        "é = 1",
    ],
    ids=["digits", "deep", "elif", "null", "letters"],
)
def test_odd_sources_are_compared_too(lab: Path, look: Look, content: str) -> None:
    (lab / "mylab" / "late.py").write_text(content + "\n")
    before = look(LAB)
    append(lab / "mylab" / "late.py", "y = 2")
    assert look(LAB) != before


@pytest.mark.slow
def test_a_run_bears_the_code_that_its_process_started_with(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second cell's network is imported before the first trains; an edit meanwhile does not count."""
    monkeypatch.chdir(tmp_path)
    script = (
        "import sys, pathlib\nfrom rbp.sweep import launch\nfrom rbp.sweep.launchers import inline\n"
        "own = inline.train_cell\n"
        "def edit_and_train(cell):\n"
        f"    file = pathlib.Path({str(package / 'models' / 'digits.py')!r})\n"
        "    file.write_text(file.read_text() + 'EDITED = 1\\n')\n"
        "    return own(cell)\n"
        "inline.train_cell = edit_and_train\n"
        "sys.exit(launch.main(['-m', 'arch=dvs_cnn,digits_cnn', 'trainer=debug', 'tracker=none', 'T=1']))\n"
    )
    for folder in ("conf", "sweeps"):
        shutil.copytree(ROOT / folder, package.parent / folder)
    forget()
    before = code_version(DIGITS_CNN)["hash"]
    environment = os.environ | {"PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("runs/single/digits-digits_cnn-*/result.json")
    forget()
    assert json.loads(file.read_text())["code"]["hash"] == before != code_version(DIGITS_CNN)["hash"]
    forget()


def test_a_result_is_stale_by_its_own_targets(package: Path) -> None:
    forget()
    result = {"code": code_version(VGG)}
    assert why_stale(result) == ""
    append(package / "models" / "vgg.py", "WIDTH = 3")
    forget()
    assert why_stale(result) == f"computed by code {result['code']['hash']}, now {code_version(VGG)['hash']}"
    forget()


@pytest.mark.parametrize(
    "code",
    [
        {"version": "0.1.0", "hash": "88f73e407e51"},  # as version 0.1 wrote it
        {"version": "0.2.0", "hash": "88f73e407e51", "targets": ["nowhere.to.be.found"]},
        {"hash": "x", "targets": "y"},
        None,
        3,
    ],
)
def test_a_result_whose_code_cannot_be_compared_is_not_stale(code: Any) -> None:
    assert why_stale({"code": code}) == ""


def test_a_moved_target_is_looked_for_where_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    result = {"code": code_version(VGG) | {"targets": ["rbp.old.vgg11", "torch.optim.SGD"]}}
    assert why_stale(result) != ""
    moved = ("rbp.older.vgg11", "rbp.old.vgg11", "rbp.models.vgg.vgg11")
    monkeypatch.setattr("rbp.config.versions.RENAMED_TARGETS", (moved,))
    assert why_stale(result) == ""
    assert why_stale({"code": result["code"] | {"hash": "0"}}).startswith("computed by code 0, now ")


def test_fingerprints_do_not_depend_on_the_version_of_python(tmp_path: Path) -> None:
    """Of all of rbp's own sources, and of forms that versions parse in other ways."""
    (tmp_path / "forms.py").write_text(
        "x = f'{a:>{b}}{c!r:{d}.{e}}' f'{{}}' 'z'\nclass A(B): pass\nwith a as b, c as d: pass\n"
    )
    (tmp_path / "print.py").write_text(
        "import hashlib, importlib.util, pathlib\n"
        f"spec = importlib.util.spec_from_file_location('syntax', {syntax.__file__!r})\n"
        "syntax = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(syntax)\n"
        f"files = sorted(pathlib.Path({str(ROOT / 'rbp')!r}).rglob('*.py')) + [pathlib.Path('forms.py')]\n"
        "print(*(syntax.fingerprint(file, syntax.parse(file)) for file in files))\n"
    )
    others = [shutil.which(f"python3.{minor}") for minor in (11, 12, 13, 14)]
    told = set()
    for python in [sys.executable, *(other for other in others if other)]:
        done = subprocess.run([python, "print.py"], cwd=tmp_path, capture_output=True, text=True)
        told |= {done.stdout} if done.returncode == 0 else set()  # a shim that stands for no installed Python
    assert len(told) == 1 and len(next(iter(told)).split()) > 100
