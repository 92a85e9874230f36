"""The state of the GPU's clock, recorded in a benchmark in addition to rbp.train.device.describe_machine."""

import subprocess
from typing import Any

import torch

# Field names of nvidia-smi; the throttle reasons have another name in older drivers.
_STATE = ("clocks.sm", "clocks.max.sm", "power.draw", "temperature.gpu")
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
TIMEOUT = 10  # seconds


def clock(device: torch.device) -> dict[str, Any] | None:
    """Return the state of a GPU's clock as nvidia-smi reports it.

    Returns:
        Clock now and maximum (MHz), power draw (watts), temperature (degrees Celsius) and `throttle_reasons`,
        a hexadecimal bit mask of why the clock is not faster. A field that the GPU does not report is
        nvidia-smi's text. None on a CPU, or if nvidia-smi is missing or does not answer.
    """
    if device.type != "cuda":
        return None
    for reasons in _REASONS:
        fields = (*_STATE, reasons)
        line = _ask(fields, _uuid(device))
        values = [_number(value.strip()) for value in line.split(",")]
        if len(values) == len(fields):
            return dict(zip((*_STATE, "throttle_reasons"), values, strict=True))
    return None


def _ask(fields: tuple[str, ...], uuid: str | None) -> str:
    """Return the first line of nvidia-smi's answer, or "" if there is none."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    if uuid is not None:
        command.append(f"--id={uuid}")
    try:
        answer = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter(answer.stdout.strip().splitlines()), "")


def _uuid(device: torch.device) -> str | None:
    """Return the GPU's UUID for nvidia-smi, whose numbering ignores CUDA_VISIBLE_DEVICES."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if uuid is None else f"GPU-{uuid}"


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
