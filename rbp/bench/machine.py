"""What a benchmark's record says of its machine beyond rbp.train.device: the state of the GPU's clock."""

import subprocess
from typing import Any

import torch

# By nvidia-smi's names; older drivers call the last one otherwise.
_STATE = ("clocks.sm", "clocks.max.sm", "power.draw", "temperature.gpu")
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
TIMEOUT = 10  # seconds


def clock(device: torch.device) -> dict[str, Any] | None:
    """Of a GPU: MHz now and at most, watts, degrees Celsius and, as a bit mask in hexadecimal, why it is not
    faster; a field that the GPU does not tell is as nvidia-smi puts it. None on a CPU, and where nvidia-smi
    is missing or does not answer."""
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
    """The first line of nvidia-smi's answer, "" where there is none."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    if uuid is not None:
        command.append(f"--id={uuid}")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter(answer.stdout.strip().splitlines()), "")


def _uuid(device: torch.device) -> str | None:
    """By which nvidia-smi knows the GPU: its own numbers are not those of CUDA_VISIBLE_DEVICES."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if uuid is None else f"GPU-{uuid}"


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
