"""The kernels that a step runs: how many, and which take longest (torch.profiler)."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

LONGEST = 10


def profiled(step: Callable[[], Any], device: torch.device) -> list[dict[str, Any]]:
    """Profile one step.

    Returns:
        A row per kernel name, longest first: `name`, `calls`, `ms` (total) and `kernel`. On a CPU, the rows
        are operators, timed without those that they call. On a GPU, copies and fills of memory are included,
        with `kernel` false.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
        torch.cuda.synchronize(device)
    with profile(activities=activities) as profiler:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    if device.type == "cuda":
        return summed(_trace(profiler))
    rows = [
        {"name": op.key, "calls": op.count, "ms": op.self_cpu_time_total / 1e3, "kernel": False}
        for op in profiler.key_averages()
    ]
    return sorted(rows, key=lambda row: -row["ms"])


def _trace(profiler: profile) -> dict[str, Any]:
    """Return the profile in Chrome's trace format, which names the kind of each event."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        return json.loads(file.read_text("utf-8", "replace"), strict=False)


def summed(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of `profiled` from a GPU's trace (durations in microseconds)."""
    rows: dict[str, dict[str, Any]] = {}
    for event in trace["traceEvents"]:
        kind = event.get("cat", "")
        if kind not in ("kernel", "gpu_memcpy", "gpu_memset"):
            continue
        row = {"name": event["name"], "calls": 0, "ms": 0.0, "kernel": kind == "kernel"}
        row = rows.setdefault(event["name"], row)
        row["calls"] += 1
        row["ms"] += event.get("dur", 0) / 1e3
    return sorted(rows.values(), key=lambda row: -row["ms"])


def launches(rows: list[dict[str, Any]]) -> int:
    """Return the number of kernels that a step runs, without copies and fills.

    A CUDA graph starts all of its kernels at once; they are counted one by one.
    """
    return sum(row["calls"] for row in rows if row["kernel"])


def as_text(profiles: list[dict[str, Any]]) -> str:
    """Return the profiles of a record as text tables; each has `T`, `contestant` and `longest` (rows)."""
    lines = []
    for each in profiles:
        lines += [f"T={each['T']}, {each['contestant']}", f"{'ms':>10} {'calls':>7}  name"]
        lines += [f"{row['ms']:>10.3f} {row['calls']:>7}  {row['name']}" for row in each["longest"]]
        lines.append("")
    return "\n".join(lines)
