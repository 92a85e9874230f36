"""A result is stale if and only if what its numbers depend on has changed."""

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rbp
from rbp.provenance import code, code_version, imports, package_versions, why_stale

VGG = {"arch": {"_target_": "rbp.models.vgg.vgg11"}, "optimizer": {"_target_": "torch.optim.SGD"}}
RESNET = {"arch": {"_target_": "rbp.models.resnet.resnet18"}}
DIGITS = {"dataset": {"_target_": "rbp.data.digits.digits"}}
LAB = {"arch": {"_target_": "mylab.nets.big.net"}}

Look = Callable[[dict[str, Any]], str]


def forget() -> None:
    """As a new process sees the files."""
    importlib.invalidate_caches()
    for cached in (
        imports.is_own,
        imports._find,
        imports._read,
        imports._installed_from_sources,
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


def test_a_change_counts_where_numbers_depend_on_it(package: Path, look: Look) -> None:
    before = {name: look(config) for name, config in (("vgg", VGG), ("resnet", RESNET), ("digits", DIGITS))}
    assert len(set(before.values())) == 3

    def changed() -> set[str]:
        now = {name: look(config) for name, config in (("vgg", VGG), ("resnet", RESNET), ("digits", DIGITS))}
        return {name for name in now if now[name] != before[name]}

    assert changed() == set()
    append(package / "models" / "vgg.py", "WIDTH = 3")
    assert changed() == {"vgg"}
    append(package / "data" / "digits.py", "SIDE = 3")
    assert changed() == {"vgg", "digits"}
    (package / "models" / "new.py").write_text("def new(neuron, in_channels, classes): ...\n")
    assert changed() == {"vgg", "digits"}
    append(package / "rate" / "scan.py", "STEPS = 3")
    assert changed() == {"vgg", "digits", "resnet"}


@pytest.mark.parametrize("place", ["rate/scan.py", "train/optimizer.py", "seeds.py", "data/batches.py"])
def test_the_engine_training_and_the_streams_count_for_every_run(
    package: Path, look: Look, place: str
) -> None:
    before = look(RESNET)
    append(package / place, "import math")
    assert look(RESNET) != before


@pytest.mark.parametrize(
    "place",
    [
        "__init__.py",
        "config/schema.py",
        "errors.py",
        "output.py",
        "runfolder.py",
        "cli.py",
        "track/start.py",
        "report/write.py",
        "sweep/launch.py",
        "bench/run.py",
        "provenance/code.py",
        "data/command.py",
        "models/vgg.py",
    ],
)
def test_what_a_run_is_called_says_or_shows_counts_for_none(package: Path, look: Look, place: str) -> None:
    before = look(RESNET)
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
        ),
        "mylab/nets/blocks.py": "try:\n    from mylab.fast import block\nexcept ImportError:\n    pass",
        "mylab/nets/widths.py": "W = 1",
        "mylab/layers.py": "from sibling import tool\nconv = 1",
        "mylab/late.py": "A = 1",
        "mylab/fast.py": "block = 1",
        "mylab/shapes.py": "S = 1",
        "mylab/unrelated.py": "U = 1",
        "sibling.py": "tool = 1",
    }
    for name, content in files.items():
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_text(content + "\n")
    monkeypatch.syspath_prepend(tmp_path / "src")
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
        ({"url": "file:///home/me/mylab", "dir_info": {}}, True),
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
    assert look({"optimizer": {"_target_": "torch.optim.SGD"}}) == look({"optimizer": {}})


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
    monkeypatch.setattr("rbp.config.versions.MOVED", {"rbp.models.vgg.vgg11": "rbp.old.vgg11"})
    assert why_stale(result) == ""
    assert why_stale({"code": result["code"] | {"hash": "0"}}).startswith("computed by code 0, now ")
