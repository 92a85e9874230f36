"""Time and memory of two gradient modes, compared only where the machine and the kernels are the same."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from rbp.report.compare import MODES, Comparison
from rbp.report.read import Run
from rbp.report.statistics import Summary, paired_ratio, summary

# What of result.json's `machine` must be equal. Not the driver, which nodes of a cluster differ in.
KIND = ("device", "threads", "precision", "kernels", "tf32", "deterministic", "torch", "cuda", "spikingjelly")


@dataclass(frozen=True)
class Costs:
    """One figure of a comparison: by gradient mode, and the ratio rate / bptt over pairs of equal seed.

    `note` says why something is blank or left out.
    """

    by_mode: dict[str, Summary]
    ratio: float | None
    note: str


def kind(run: Run) -> tuple[Any, ...]:
    """Equal for two runs whose costs can be compared."""
    machine = (run.result or {}).get("machine") or {}
    return tuple(machine.get(key) if isinstance(machine, dict) else None for key in KIND)


def kind_label(of: tuple[Any, ...]) -> str:
    """For instance AMD EPYC, 2 cores, 1 thread, fp32, plain kernels."""
    named = dict(zip(KIND, of, strict=True))
    threads = f"{named['threads']} thread{'s' if named['threads'] != 1 else ''}" if named["threads"] else None
    kernels = f"{named['kernels']} kernels" if named["kernels"] else None
    torch = f"torch {named['torch']}" if named["torch"] else None
    parts = (named["device"], threads, named["precision"], "TF32" if named["tf32"] else None, kernels, torch)
    return ", ".join(str(part) for part in parts if part) or "unknown machine"


def costs(comparison: Comparison, key: str) -> Costs:
    """The figure `key` of result.json in both modes, on the kind of machine that most pairs share."""
    values = {
        mode: {s: (kind(r), v) for s, r in comparison.done(mode).items() if (v := r.figure(key)) is not None}
        for mode in MODES
    }
    base, other = (values[mode] for mode in MODES)
    shared = Counter(base[seed][0] for seed in base if seed in other and base[seed][0] == other[seed][0])
    if not shared:
        return _apart(values)
    best = shared.most_common(1)[0][0]
    on_best = {m: {s: v for s, (k, v) in found.items() if k == best} for m, found in values.items()}
    total, kept = (sum(len(found) for found in group.values()) for group in (values, on_best))
    note = f"{kept} of {total} runs: those on {kind_label(best)}" if kept < total else ""
    by_mode = {mode: s for mode, found in on_best.items() if (s := summary(found.values())) is not None}
    return Costs(by_mode, paired_ratio(on_best["bptt"], on_best["rate"]), note)


def _apart(values: dict[str, dict[int, tuple[tuple[Any, ...], float]]]) -> Costs:
    """No pair can be compared: each mode's own mean where its runs are of one kind, and why."""
    kinds = {mode: list(dict.fromkeys(k for k, _ in found.values())) for mode, found in values.items()}
    by_mode = {
        mode: s
        for mode, found in values.items()
        if len(kinds[mode]) == 1 and (s := summary(v for _, v in found.values())) is not None
    }
    if missing := [mode for mode in MODES if not kinds[mode]]:
        return Costs(by_mode, None, f"nothing measured of {' and '.join(missing)}")
    if not set(values["bptt"]) & set(values["rate"]):
        return Costs(by_mode, None, "no seed in common")
    return Costs(by_mode, None, f"not comparable: {_difference(kinds['bptt'][0], kinds['rate'][0])}")


def _difference(a: tuple[Any, ...], b: tuple[Any, ...]) -> str:
    pairs = [f"{key} {x} / {y}" for key, x, y in zip(KIND, a, b, strict=True) if x != y]
    return "; ".join(pairs) or "the seeds' machines differ"
