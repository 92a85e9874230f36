"""The command: a line per check, JSON, limits, exit codes."""

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import torch

from rbp.check import command
from rbp.check.finding import STATUSES, Finding, absent, ok, wrong
from rbp.check.runner import Check, run
from rbp.cli import main

CPU = torch.device("cpu")


def right(device: torch.device) -> Finding:
    return ok(f"right on {device.type}")


def missing(device: torch.device) -> Finding:
    return absent("not there", "install it")


def off(device: torch.device) -> Finding:
    return wrong("off by one", "do not use it")


def sleeps(device: torch.device) -> Finding:
    time.sleep(60)
    return ok("")


def dies(device: torch.device) -> Finding:
    os._exit(3)


def raises(device: torch.device) -> Finding:
    raise RuntimeError("CUDA error: out of luck\nmore lines")


@pytest.mark.parametrize(
    ("check", "status", "told"),
    [
        (Check("a", right), "ok", "right on cpu"),
        (Check("a", sleeps, limit=0.5), "slow", "not done after 0 s"),
        (Check("a", dies), "wrong", "exit code 3"),
        (Check("a", raises), "wrong", "RuntimeError: CUDA error: out of luck"),
    ],
    ids=["right", "sleeps", "dies", "raises"],
)
def test_a_check_that_hangs_or_crashes_is_told_and_takes_no_other_with_it(
    check: Check, status: str, told: str
) -> None:
    start = time.monotonic()
    found = run(check, CPU)
    assert found.status == status and told in found.summary and found.name == "a" and found.seconds > 0
    assert time.monotonic() - start < 30


def leaves_a_process(device: torch.device) -> Finding:
    subprocess.Popen(["sleep", "61.5"])
    time.sleep(60)
    return ok("")


@pytest.mark.slow
def test_what_a_hanging_check_has_started_ends_with_it() -> None:
    assert run(Check("a", leaves_a_process, limit=3.0), CPU).status == "slow"
    commands = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # that process has just ended
            commands.append(file.read_bytes())
    assert commands and b"sleep\x0061.5\x00" not in commands


@pytest.mark.parametrize(("checks", "code"), [((right, missing), 0), ((right, off, missing), 1)])
def test_the_exit_code_says_whether_something_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    checks: tuple,
    code: int,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(command, "checks", lambda: [Check(check.__name__, check) for check in checks])
    file = tmp_path / "check.json"
    assert main(["check", "--device", "cpu", "--json", str(file)]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok     right") and lines[0].endswith("right on cpu")
    assert lines[-2].startswith("absent missing") and lines[-1].strip() == "install it"
    written = json.loads(file.read_text())["checks"]
    assert [found["name"] for found in written] == [check.__name__ for check in checks]
    assert all({"name", "status", "seconds", "advice"} <= found.keys() for found in written)
    assert {found["status"] for found in written} <= set(STATUSES)


def test_json_takes_the_place_of_the_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "checks", lambda: [Check("one", right)])
    assert main(["check", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["checks"][0]["name"] == "one" and "right on" in told.err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--device gpu", "--device gpu: must be one of auto, cpu, cuda"),
        ("--json /nowhere/at/all.json", "--json /nowhere/at/all.json: cannot be written"),
        pytest.param(
            "--device cuda",
            "--device cuda: there is no usable GPU here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here"),
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    monkeypatch.setattr(command, "checks", lambda: [Check("one", right)])
    assert main(["check", *line.split()]) == 2
    assert capsys.readouterr().err.startswith(f"error: {told}")


def test_every_part_is_checked_by_a_name_of_its_own() -> None:
    names = [check.name for check in command.checks()]
    assert len(names) == len(set(names))
    assert {"engine, float32", "engine, compiled kernels", "killed and resumed", "several ranks"} <= set(
        names
    )
    assert {"data, cifar10", "data, digits", "Slurm", "wandb", "compiler"} <= set(names)
