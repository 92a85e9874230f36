"""Compare the time and memory of two gradient modes, only between runs on the same kind of machine."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from rbp.report.compare import MODES, Comparison
from rbp.report.read import Run
from rbp.report.statistics import Summary, paired_ratio, summary

# Keys of `machine` in result.json that must be equal. The driver is not among them, since it differs between
# the nodes of a cluster.
KIND = ("device", "ranks", "threads", "precision", "tf32", "deterministic", "torch", "cuda", "spikingjelly")

Kind = tuple[Any, ...]
Setup = tuple[Kind, str]  # (kind of machine, path): see `kind` and `path`


@dataclass(frozen=True)
class Costs:
    """One figure of cost of a comparison.

    Attributes:
        by_mode: The figure by gradient mode.
        ratio: Geometric mean of rate / bptt over pairs of equal seed; None if no pair is comparable.
        note: Why something is blank or left out, and which path the Rate-BP runs took.
    """

    by_mode: dict[str, Summary]
    ratio: float | None
    note: str


def kind(run: Run) -> Kind:
    """Return the kind of machine of a run; costs are comparable only between runs of equal kind."""
    return tuple(run.machine.get(key) for key in KIND)


def path(run: Run) -> str:
    """Return the computation path of a run as far as it affects costs: for Rate-BP, the kernels and chunks.

    Runs of one gradient mode are pooled only if they have the same path. BPTT has a single path, "", which is
    compared with every path of Rate-BP. "" also stands for plain Rate-BP.
    """
    if run.grad_mode != "rate":
        return ""
    kernels, trainer = run.machine.get("kernels"), run.config.get("trainer")
    chunk = trainer.get("chunk") if isinstance(trainer, dict) else None
    named = f"{kernels} kernels" if kernels not in (None, "plain") else ""
    return ", ".join(filter(None, (named, f"chunks of {chunk}" if chunk is not None else "")))


def setup(run: Run) -> Setup:
    """Return the kind of machine and the computation path of a run."""
    return kind(run), path(run)


def setup_label(of: Setup) -> str:
    """Return a setup as text, such as "AMD EPYC, 2 cores, 1 thread, fp32, torch 2.14.1, compiled kernels"."""
    named = dict(zip(KIND, of[0], strict=True))
    threads = f"{named['threads']} thread{'s' if named['threads'] != 1 else ''}" if named["threads"] else None
    ranks = f"{named['ranks']} ranks" if named["ranks"] not in (None, 1) else None
    torch = f"torch {named['torch']}" if named["torch"] else None
    parts = (named["device"], ranks, threads, named["precision"], "TF32" if named["tf32"] else None, torch)
    machine = ", ".join(str(part) for part in parts if part) or "unknown machine"
    return ", ".join(filter(None, (machine, of[1])))


def short_labels(kinds: list[Kind]) -> list[str]:
    """Return labels that distinguish kinds of machine: the device if that is enough; "" for a single kind."""
    if len(kinds) == 1:
        return [""]
    keys = [key for key, *values in zip(KIND, *kinds, strict=True) if len(set(values)) > 1]
    if len({of[0] for of in kinds}) == len(kinds):
        keys = ["device"]
    named = [dict(zip(KIND, of, strict=True)) for of in kinds]
    return [", ".join(str(of[k]) if k == "device" else f"{k} {of[k]}" for k in keys) for of in named]


def costs(comparison: Comparison, key: str) -> Costs:
    """Compare both gradient modes by one figure, on the machine and path that most pairs of equal seed share.

    Args:
        comparison: The runs to compare.
        key: Entry of result.json, such as "step_seconds" or "peak_memory_bytes".
    """
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
    """Return the costs if no pair is comparable: the mean of each mode with a single setup, and why."""
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
