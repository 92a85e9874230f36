"""Compare the time and memory of groups of runs, only between runs on the same kind of machine."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rbp.report.comparison.settings import CHUNK
from rbp.report.comparison.statistics import Summary, paired_ratio, summary
from rbp.report.read import Run

# Keys of `machine` in result.json that must be equal. The driver is not among them, since it differs between
# the nodes of a cluster.
KIND = ("device", "ranks", "threads", "precision", "tf32", "deterministic", "torch", "cuda", "spikingjelly")

Kind = tuple[Any, ...]
Setup = tuple[Kind, str]  # (kind of machine, path): see `kind` and `path`
_Measured = dict[int, tuple[Setup, float]]  # seed -> setup and value


@dataclass(frozen=True)
class Cost:
    """One figure of cost of a group of runs.

    Attributes:
        mean: The mean over the runs of one setup; None if nothing was measured, or on several setups of which
            none can be preferred.
        ratio: Geometric mean of this group's over the base's, over pairs of equal seed; None if there is no
            base or no pair is comparable.
        note: Why something is blank or left out, and which path the runs took; "" if there is nothing to say.
    """

    mean: Summary | None
    ratio: float | None = None
    note: str = ""


def kind(run: Run) -> Kind:
    """Return the kind of machine of a run; costs are comparable only between runs of equal kind."""
    return tuple(run.machine.get(key) for key in KIND)


def path(run: Run) -> str:
    """Return the computation path of a run as far as it affects costs: for Rate-BP, the kernels and chunks.

    Runs of one group are pooled only if they have the same path, and runs of Rate-BP compared with each other
    only then. BPTT has a single path, "", which is compared with every path of Rate-BP. "" also stands for
    plain Rate-BP.
    """
    if run.grad_mode != "rate":
        return ""
    kernels, steps = run.machine.get("kernels"), chunk(run)
    named = f"{kernels} kernels" if kernels not in (None, "plain") else ""
    cut = steps is not None and CHUNK not in run.mode_keys  # where chunks are compared, they are no path
    return ", ".join(filter(None, (named, f"chunks of {steps}" if cut else "")))


def chunk(run: Run) -> int | None:
    """Return how many time steps Rate-BP has in memory at once; None for all, and for other modes."""
    trainer = run.config.get("trainer")
    return trainer.get("chunk") if run.grad_mode == "rate" and isinstance(trainer, dict) else None


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


def on_one_machine(run: Run) -> bool:
    """Whether a run was never resumed on another kind of machine, where its epochs take another time."""
    before = (run.result or {}).get("machines_before") or []
    of_run = list(kind(run))
    return all(isinstance(of, dict) and [of.get(key) for key in KIND] == of_run for of in before)


def cost(
    runs: Mapping[int, Run], base: Mapping[int, Run] | None, measure: Callable[[Run], float | None]
) -> Cost:
    """Return a group's cost, and its ratio to the base's on the machine and path that most pairs share.

    Args:
        runs: The finished runs of the group, by seed.
        base: Those of the group that it is compared with; None for the base itself.
        measure: Returns a run's figure; None if it was not measured.
    """
    own = _measured(runs, measure)
    if not own:
        return Cost(None, None, "nothing measured" if runs else "")
    if base is None:
        return _on(own, Counter(of for of, _ in own.values()).most_common(1)[0][0])
    others = _measured(base, measure)
    parts = 2 if len({run.grad_mode for run in (*runs.values(), *base.values())}) == 1 else 1
    pairs = ((others[seed][0], own[seed][0]) for seed in own if seed in others)
    shared = Counter(pair for pair in pairs if pair[0][:parts] == pair[1][:parts])
    if not shared:
        return _apart(own, others)
    of_base, best = shared.most_common(1)[0][0]
    found = _on(own, best)
    values = {seed: value for seed, (of, value) in own.items() if of == best}
    against = {seed: value for seed, (of, value) in others.items() if of == of_base}
    return Cost(found.mean, paired_ratio(against, values), found.note or best[1])


def _measured(runs: Mapping[int, Run], measure: Callable[[Run], float | None]) -> _Measured:
    return {seed: (setup(run), v) for seed, run in runs.items() if (v := measure(run)) is not None}


def _on(own: _Measured, best: Setup) -> Cost:
    """Return the mean over the runs of one setup, with a note if others are left out."""
    values = [value for of, value in own.values() if of == best]
    left = len(own) - len(values)
    plain = ", plain kernels" if left and not best[1] and any(of[1] for of, _ in own.values()) else ""
    note = f"{len(values)} of {len(own)} runs: those on {setup_label(best)}{plain}" if left else best[1]
    return Cost(summary(values), None, note)


def _apart(own: _Measured, others: _Measured) -> Cost:
    """Return the cost of a group of which no pair with the base is comparable, and why."""
    setups = list(dict.fromkeys(of for of, _ in own.values()))
    mean = summary(value for _, value in own.values()) if len(setups) == 1 else None
    if not others:
        return Cost(mean, None, "nothing measured of the base")
    if not own.keys() & others.keys():
        return Cost(mean, None, "no seed in common with the base")
    of_base = next(of for of, _ in others.values())
    return Cost(mean, None, f"not comparable: {_difference(of_base, setups[0])}")


def _difference(a: Setup, b: Setup) -> str:
    pairs = [f"{key} {x} / {y}" for key, x, y in zip(KIND, a[0], b[0], strict=True) if x != y]
    paths = [f"{a[1] or 'plain kernels'} / {b[1] or 'plain kernels'}"] if a[1] != b[1] and not pairs else []
    return "; ".join([*pairs, *paths]) or "the seeds' machines differ"
