"""The copy of the code that waiting jobs run."""

import subprocess
from pathlib import Path

import pytest

from rbp.provenance.commits import FILE
from rbp.sweep.launchers.snapshot import take_snapshot


def git(root: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", *words],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "rbp").mkdir(parents=True)
    (root / "rbp" / "__init__.py").write_text("one = 1\n")
    (root / "conf.yaml").write_text("a: 1\n")
    (root / ".gitignore").write_text("runs/\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


def contents(copy: Path) -> dict[str, str]:
    """The files of a copy, but for the note of their commit."""
    files = (file for file in sorted(copy.rglob("*")) if file.is_file() and file.name != FILE)
    return {file.relative_to(copy).as_posix(): file.read_text() for file in files}


def test_uncommitted_changes_and_new_sources_are_in_it_ignored_files_and_data_are_not(project: Path) -> None:
    (project / "rbp" / "__init__.py").write_text("one = 2\n")
    (project / "rbp" / "new.py").write_text("three = 3\n")
    (project / "data.bin").write_bytes(b"x" * 1000)
    (project / "runs").mkdir()
    (project / "runs" / "x.py").write_text("")
    copy = take_snapshot(project / "runs" / "code", project)
    assert contents(copy) == {
        ".gitignore": "runs/\n",
        "conf.yaml": "a: 1\n",
        "rbp/__init__.py": "one = 2\n",
        "rbp/new.py": "three = 3\n",
    }


def test_tests_and_docs_are_of_no_run(project: Path, tmp_path: Path) -> None:
    for name in ("tests/test_a.py", "docs/a.yaml", "mylab/tests/a.py"):
        (project / name).parent.mkdir(parents=True)
        (project / name).write_text("")
    copied = contents(take_snapshot(tmp_path / "code", project))
    assert "mylab/tests/a.py" in copied and not any(name.startswith(("tests", "docs")) for name in copied)


def test_the_same_code_is_copied_once_and_changed_code_anew(project: Path, tmp_path: Path) -> None:
    first = take_snapshot(tmp_path / "code", project)
    written = (first / "conf.yaml").stat().st_mtime_ns
    assert take_snapshot(tmp_path / "code", project) == first
    assert (first / "conf.yaml").stat().st_mtime_ns == written
    (project / "conf.yaml").write_text("a: 2\n")
    second = take_snapshot(tmp_path / "code", project)
    assert (
        second != first
        and contents(first)["conf.yaml"] == "a: 1\n"
        and contents(second)["conf.yaml"] == "a: 2\n"
    )


def test_a_deleted_file_is_not_in_it(project: Path, tmp_path: Path) -> None:
    (project / "conf.yaml").unlink()
    assert "conf.yaml" not in contents(take_snapshot(tmp_path / "code", project))


@pytest.mark.parametrize("inside_a_repository", [False, True])
def test_an_installed_package_is_copied_without_git(tmp_path: Path, inside_a_repository: bool) -> None:
    root = tmp_path / "site-packages"
    (root / "rbp").mkdir(parents=True)
    (root / "rbp" / "__init__.py").write_text("")
    (root / "rbp" / "conf").mkdir()
    (root / "rbp" / "conf" / "config.yaml").write_text("")
    (root / "other.py").write_text("")
    if inside_a_repository:  # somebody's, that does not track its packages
        (tmp_path / ".gitignore").write_text("site-packages\n")
        git(tmp_path, "init", "-q")
    wanted = ["rbp/__init__.py", "rbp/conf/config.yaml"]
    assert list(contents(take_snapshot(tmp_path / "code", root))) == wanted


def test_sweeps_among_the_projects_files_are_not_copied_with_it(project: Path) -> None:
    (project / "results" / "mine" / "a-run").mkdir(parents=True)
    (project / "results" / "mine" / "a-run" / "config.yaml").write_text("")
    (project / "results" / "new.py").write_text("")
    (project / "results" / "mine" / ".sweep").mkdir()
    (project / "results" / "mine" / ".sweep" / "lock").write_text("")
    first = take_snapshot(project / "results" / "mine" / ".sweep" / "code", project)
    assert set(contents(first)) == {".gitignore", "conf.yaml", "rbp/__init__.py", "results/new.py"}
    assert take_snapshot(project / "results" / "mine" / ".sweep" / "code", project) == first
