"""Kernels are counted and summed from a trace as the profiler writes it."""

import pytest
import torch

from rbp.bench.profiling import as_text, launches, profiled, summed

# As of torch.profiler: a launch on the CPU's side, annotations on both, two kernels, copies and fills.
TRACE = {
    "traceEvents": [
        {"ph": "M", "name": "process_name"},
        {"ph": "X", "cat": "cpu_op", "name": "aten::add", "dur": 50},
        {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "dur": 9},
        {"ph": "X", "cat": "gpu_user_annotation", "name": "step", "dur": 900},
        {"ph": "X", "cat": "kernel", "name": "add", "dur": 3},
        {"ph": "X", "cat": "kernel", "name": "conv", "dur": 40},
        {"ph": "X", "cat": "kernel", "name": "add", "dur": 5},
        {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD", "dur": 2},
        {"ph": "X", "cat": "gpu_memset", "name": "Memset", "dur": 1},
    ]
}


def test_a_trace_is_summed_by_name_the_longest_first() -> None:
    rows = summed(TRACE)
    assert [(row["name"], row["calls"], row["ms"]) for row in rows] == [
        ("conv", 1, 0.04),
        ("add", 2, pytest.approx(0.008)),
        ("Memcpy HtoD", 1, 0.002),
        ("Memset", 1, 0.001),
    ]
    assert launches(rows) == 3


def test_on_a_cpu_it_is_operators_by_their_own_time() -> None:
    x = torch.rand(64, 64)
    rows = profiled(lambda: (x @ x, x @ x, x + 1), torch.device("cpu"))
    calls = {row["name"]: row["calls"] for row in rows}
    assert calls["aten::mm"] == 2 and calls["aten::add"] == 1 and launches(rows) == 0
    assert [row["ms"] for row in rows] == sorted((row["ms"] for row in rows), reverse=True)


def test_as_text() -> None:
    text = as_text([{"T": 2, "contestant": "rate", "longest": summed(TRACE)[:2]}])
    assert text.splitlines() == [
        "T=2, rate",
        "        ms   calls  name",
        "     0.040       1  conv",
        "     0.008       2  add",
    ]
