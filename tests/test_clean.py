"""`rbp clean` removes what no run needs any more, and nothing else."""

from pathlib import Path

import pytest

from rbp.cli import main
from tests.support.run_folders import write_run

NAMES = ("last.pt", "previous.pt", "best.pt")


def with_checkpoints(folder: Path, *names: str) -> Path:
    (folder / "checkpoints").mkdir()
    for name in names or NAMES:
        (folder / "checkpoints" / name).write_bytes(bytes(2**20))
    return folder


def left(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / "checkpoints").iterdir())


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    copy = tmp_path / ".sweep" / "code" / "0123" / "rbp"
    copy.mkdir(parents=True)
    (copy / "__init__.py").write_text("")
    return tmp_path


def test_runs_that_are_done_keep_what_their_config_says(sweep: Path, capsys: pytest.CaptureFixture) -> None:
    usual = with_checkpoints(write_run(sweep, seed=0))
    best = with_checkpoints(write_run(sweep, seed=1, trainer__headline="best"))
    every = with_checkpoints(write_run(sweep, seed=2, trainer__keep="all"))
    failed = with_checkpoints(write_run(sweep, accuracy=None, state="failed", seed=3))
    assert main(["clean", "--dry-run", str(sweep)]) == 0
    told = capsys.readouterr().out
    assert all(left(folder) == sorted(NAMES) for folder in (usual, best, every, failed))
    assert "3 of 4 runs are done: 4.0 MiB would be freed; nothing was removed" in told
    assert main(["clean", str(sweep)]) == 0
    assert "4.0 MiB freed" in capsys.readouterr().out
    assert (left(usual), left(best)) == (["last.pt"], ["best.pt"])
    assert left(every) == left(failed) == sorted(NAMES)
    assert not any((sweep / ".sweep" / "code").iterdir())
    assert main(["clean", str(sweep)]) == 0 and "0.0 MiB freed" in capsys.readouterr().out


def test_what_is_asked_for_goes_and_the_only_checkpoint_stays(sweep: Path) -> None:
    both = with_checkpoints(write_run(sweep, seed=0), "last.pt", "best.pt")
    last = with_checkpoints(write_run(sweep, seed=1), "last.pt")
    (both / "older-0123").mkdir()
    assert main(["clean", "--keep", "best", str(sweep)]) == 0
    assert (left(both), left(last)) == (["best.pt"], ["last.pt"]) and (both / "older-0123").exists()
    assert main(["clean", "--older", str(both)]) == 0
    assert not (both / "older-0123").exists() and (both / "result.json").exists()


def test_while_a_run_is_at_work_the_code_stays(sweep: Path) -> None:
    write_run(sweep, accuracy=None, state="running")
    done = with_checkpoints(write_run(sweep, seed=1))
    assert main(["clean", str(sweep)]) == 0
    assert left(done) == ["last.pt"] and (sweep / ".sweep" / "code" / "0123").exists()


def test_a_damaged_config_keeps_all(sweep: Path, capsys: pytest.CaptureFixture) -> None:
    folder = with_checkpoints(write_run(sweep))
    (folder / "config.yaml").write_text("{")
    assert main(["clean", str(sweep)]) == 0
    assert (
        left(folder) == sorted(NAMES)
        and "is damaged, so that all checkpoints stay" in capsys.readouterr().out
    )


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["clean", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err
