"""`rbp status|logs|retry|cancel` on folders as runs leave them, without any job."""

import json
import time
from pathlib import Path

import pytest

from rbp import cli
from rbp.runfolder import RESULT_KEYS


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A run that is done, one that failed, one that fell silent."""
    for name, status in {
        "a": {"state": "done"},
        "b": {"state": "failed", "error": "the loss is nan in epoch 3"},
        "c": {"state": "running", "heartbeat": time.time() - 100, "pid": 1, "host": "node7"},
    }.items():
        folder = tmp_path / "runs" / "mine" / name
        folder.mkdir(parents=True)
        (folder / "status.json").write_text(json.dumps(status))
        (folder / "log.txt").write_text(f"what {name} said\n")
    result = dict.fromkeys(RESULT_KEYS, 0) | {"name": "a", "config": {}, "test_acc": 0.9871}
    (tmp_path / "runs" / "mine" / "a" / "result.json").write_text(json.dumps(result))
    return tmp_path / "runs" / "mine"


def test_status_tells_every_run_with_its_reason_and_the_exit_code_that_some_went_wrong(
    sweep: Path, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["status", str(sweep)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["a", "done", "test", "acc", "98.71%"]
    assert "failed" in lines[1] and "the loss is nan in epoch 3" in lines[1]
    assert "lost" in lines[2] and "no sign of life" in lines[2]
    assert lines[3] == f"{sweep}: 3 runs: 1 done, 1 failed, 1 lost"
    assert cli.main(["status", str(sweep / "a")]) == 0


def test_logs_shows_what_a_run_said(sweep: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["logs", str(sweep / "b")]) == 0
    told = capsys.readouterr().out
    assert "failed: the loss is nan" in told and "what b said" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["status", "{runs}/nothing"], "nothing: no such folder"),
        (["status", "{runs}"], "not the folder of a sweep"),
        (["status", "{runs}"], "it holds mine"),
        (["cancel", "{runs}"], "not the folder of a sweep"),
        (["retry", "{runs}"], "not the folder of a sweep"),
        (["logs", "{runs}/mine"], "is a sweep; name one run in it"),
        (["retry", "{runs}/mine"], "config.yaml: cannot be read"),
    ],
)
def test_what_is_no_sweep_or_run_says_so(
    sweep: Path, capsys: pytest.CaptureFixture, words: list[str], told: str
) -> None:
    assert cli.main([word.format(runs=sweep.parent) for word in words]) == 2
    assert told in capsys.readouterr().err


def test_nothing_at_work_is_nothing_to_cancel(sweep: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["cancel", str(sweep)]) == 0
    assert "nothing to cancel: 1 done, 1 failed, 1 lost" in capsys.readouterr().out
