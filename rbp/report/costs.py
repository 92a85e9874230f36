"""Time and memory of two gradient modes, compared only where the machine is the same."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from rbp.report.compare import MODES, Comparison
from rbp.report.read import Run
from rbp.report.statistics import Summary, paired_ratio, summary

# What of result.json's `machine` must be equal. Not the driver, which nodes of a cluster differ in.
KIND = ("device", "ranks", "threads", "precision", "tf32", "deterministic", "torch", "cuda", "spikingjelly")

Kind = tuple[Any, ...]
Setup = tuple[Kind, str]  # a kind of machine, and the path on it


@dataclass(frozen=True)
class Costs:
    """One figure of a comparison: by gradient mode, and the ratio rate / bptt over pairs of equal seed.

    `note` says why something is blank or left out, and by which path the runs of Rate-BP went.
    """

    by_mode: dict[str, Summary]
    ratio: float | None
    note: str


def kind(run: Run) -> Kind:
    """Equal for two runs whose costs can be compared."""
    return tuple(run.machine.get(key) for key in KIND)


def path(run: Run) -> str:
    """What a gradient mode can be computed by, where that decides costs: of Rate-BP the kernels and chunks.

    Runs of one mode are pooled on the same path only; BPTT has none, and is compared with each. "" for plain.
    """
    if run.grad_mode != "rate":
        return ""
    kernels, trainer = run.machine.get("kernels"), run.config.get("trainer")
    chunk = trainer.get("chunk") if isinstance(trainer, dict) else None
    named = f"{kernels} kernels" if kernels not in (None, "plain") else ""
    return ", ".join(filter(None, (named, f"chunks of {chunk}" if chunk is not None else "")))


def setup(run: Run) -> Setup:
    return kind(run), path(run)


def setup_label(of: Setup) -> str:
    """For instance AMD EPYC, 2 cores, 1 thread, fp32, torch 2.14.1, compiled kernels."""
    named = dict(zip(KIND, of[0], strict=True))
    threads = f"{named['threads']} thread{'s' if named['threads'] != 1 else ''}" if named["threads"] else None
    ranks = f"{named['ranks']} ranks" if named["ranks"] not in (None, 1) else None
    torch = f"torch {named['torch']}" if named["torch"] else None
    parts = (named["device"], ranks, threads, named["precision"], "TF32" if named["tf32"] else None, torch)
    machine = ", ".join(str(part) for part in parts if part) or "unknown machine"
    return ", ".join(filter(None, (machine, of[1])))


def short_labels(kinds: list[Kind]) -> list[str]:
    """What tells kinds of machine apart: the device where that is enough. "" for a single one."""
    if len(kinds) == 1:
        return [""]
    keys = [key for key, *values in zip(KIND, *kinds, strict=True) if len(set(values)) > 1]
    if len({of[0] for of in kinds}) == len(kinds):
        keys = ["device"]
    named = [dict(zip(KIND, of, strict=True)) for of in kinds]
    return [", ".join(str(of[k]) if k == "device" else f"{k} {of[k]}" for k in keys) for of in named]


def costs(comparison: Comparison, key: str) -> Costs:
    """The figure `key` of result.json in both modes, on the machine and by the path that most pairs share."""
    values = {
        mode: {s: (setup(r), v) for s, r in comparison.done(mode).items() if (v := r.figure(key)) is not None}
        for mode in MODES
    }
    base, other = (values[mode] for mode in MODES)
    pairs = ((base[seed][0], other[seed][0]) for seed in base if seed in other)
    shared = Counter(pair for pair in pairs if pair[0][0] == pair[1][0])
    if not shared:
        return _apart(values)
    best = dict(zip(MODES, shared.most_common(1)[0][0], strict=True))
    on_best = {m: {s: v for s, (of, v) in found.items() if of == best[m]} for m, found in values.items()}
    total, kept = (sum(len(found) for found in group.values()) for group in (values, on_best))
    note = f"rate with {best['rate'][1]}" if best["rate"][1] else ""
    if kept < total:
        plain = ", plain" if not best["rate"][1] and any(of[1] for of, _ in other.values()) else ""
        note = f"{kept} of {total} runs: those on {setup_label(best['rate'])}{plain}"
    by_mode = {mode: s for mode, found in on_best.items() if (s := summary(found.values())) is not None}
    return Costs(by_mode, paired_ratio(on_best["bptt"], on_best["rate"]), note)


def _apart(values: dict[str, dict[int, tuple[Setup, float]]]) -> Costs:
    """No pair can be compared: each mode's own mean where its runs are of one kind, and why."""
    setups = {mode: list(dict.fromkeys(of for of, _ in found.values())) for mode, found in values.items()}
    by_mode = {
        mode: s
        for mode, found in values.items()
        if len(setups[mode]) == 1 and (s := summary(v for _, v in found.values())) is not None
    }
    if missing := [mode for mode in MODES if not setups[mode]]:
        return Costs(by_mode, None, f"nothing measured of {' and '.join(missing)}")
    if not set(values["bptt"]) & set(values["rate"]):
        return Costs(by_mode, None, "no seed in common")
    return Costs(by_mode, None, f"not comparable: {_difference(setups['bptt'][0][0], setups['rate'][0][0])}")


def _difference(a: Kind, b: Kind) -> str:
    pairs = [f"{key} {x} / {y}" for key, x, y in zip(KIND, a, b, strict=True) if x != y]
    return "; ".join(pairs) or "the seeds' machines differ"
