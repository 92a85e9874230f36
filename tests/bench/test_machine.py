"""The clock's state is noted where nvidia-smi tells it, and never in the way."""

import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rbp.bench.machine import clock

CUDA = torch.device("cuda")
OLD = 'case "$*" in *clocks_event_reasons*) echo "not a valid field"; exit 2;; esac\n'


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a program of that name out of lines of shell; its command lines are in the file returned."""

    def make(lines: str) -> Path:
        program = tmp_path / "nvidia-smi"
        program.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n{lines}\n')
        program.chmod(0o755)
        return tmp_path / "asked"

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(uuid="12"))
    return make


@pytest.mark.parametrize("before", ["", OLD])
def test_newer_and_older_drivers_tell_the_clock(nvidia_smi: Callable[[str], Path], before: str) -> None:
    asked = nvidia_smi(before + 'echo "1410, 1980, 85.20, [N/A], 0x0000000000000001"')
    assert clock(CUDA) == {
        "clocks.sm": 1410.0,
        "clocks.max.sm": 1980.0,
        "power.draw": 85.2,
        "temperature.gpu": "[N/A]",
        "throttle_reasons": "0x0000000000000001",
    }
    assert all(line.endswith("--id=GPU-12") for line in asked.read_text().splitlines())


@pytest.mark.parametrize("lines", ["exit 9", "echo No devices were found", "", "echo 1, 2"])
def test_an_answer_that_is_none_is_null(nvidia_smi: Callable[[str], Path], lines: str) -> None:
    nvidia_smi(lines)
    assert clock(CUDA) is None


def test_without_the_program_or_a_gpu_it_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert clock(torch.device("cpu")) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: object())
    assert clock(CUDA) is None
