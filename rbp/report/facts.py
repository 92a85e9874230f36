"""Gather the facts about runs: their sweeps, machines, versions of the code, and durations."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rbp.report.comparison.costs import KIND
from rbp.report.comparison.settings import text_of
from rbp.report.paths import shown_path
from rbp.report.read import Run
from rbp.runs.folder import RunFolder

SWEEP_FILE = Path(".sweep", "sweep.yaml")


@dataclass(frozen=True)
class SweepFacts:
    """The facts about one sweep.

    Attributes:
        name: Name of the sweep; its folder as text if an earlier sweep has the same name.
        folder: Folder of the sweep.
        states: Number of runs by state.
        seconds: Time from the first run's start to the last end or heartbeat; None if unknown.
        busy: Seconds of training and evaluation, summed over all runs.
        config: Text of the sweep's own record of its settings (SWEEP_FILE), or the keys that its runs share.
        varied: Values of each key that differs between the runs.
    """

    name: str
    folder: Path
    states: dict[str, int]
    seconds: float | None
    busy: float
    config: str
    varied: dict[str, list[str]]


@dataclass(frozen=True)
class Facts:
    """The facts about all runs of a report.

    Attributes:
        sweeps: Facts by label of the sweep.
        abouts: Descriptions of the sweeps (`sweep.about`).
        machines: Number of finished runs by machine.
        code: Number of finished runs by version of the code.
        warnings: Sentences to show as warnings.
        written: Local time at which the report was written, as text.
    """

    sweeps: dict[str, SweepFacts]
    abouts: list[str]
    machines: dict[str, int]
    code: dict[str, int]
    warnings: list[str] = field(default_factory=list)
    written: str = ""


def gather(runs: list[Run], shown: list[Run], problems: list[str], doubles: list[str]) -> Facts:
    """Gather the facts about runs.

    Args:
        runs: All runs that were read.
        shown: The runs without duplicates.
        problems: Messages about folders that could not be read.
        doubles: Sentences about runs that are left out because another sweep has them.
    """
    by_sweep: dict[Path, list[Run]] = {}
    for run in runs:
        by_sweep.setdefault(run.folder.parent, []).append(run)
    sweeps: dict[str, SweepFacts] = {}
    for folder, members in by_sweep.items():
        label = members[0].sweep if members[0].sweep not in sweeps else shown_path(folder)
        sweeps[label] = _sweep(label, folder, members)
    abouts = [str(about) for run in runs if (about := (run.config.get("sweep") or {}).get("about"))]
    done = [run for run in runs if run.result]
    machines, code = Counter(_machine(run.machine) for run in done), Counter(_code(run) for run in done)
    warnings = [f"Not readable: {problem}" for problem in problems]
    warnings += doubles
    versions = _versions([run.code for run in shown if run.result])
    if versions > 1:
        warnings.append(f"Results of {versions} versions of the code stand side by side: see What was run.")
    written = time.strftime("%Y-%m-%d %H:%M:%S")
    return Facts(sweeps, list(dict.fromkeys(abouts)), dict(machines), dict(code), warnings, written)


def _sweep(label: str, folder: Path, runs: list[Run]) -> SweepFacts:
    begins = [start for run in runs if (start := _first_start(run)) is not None]
    begun = [run.status for run in runs if run.status.started is not None]
    ends = [end for status in begun for end in (status.ended, status.heartbeat) if end]
    flats = [run.flat for run in runs if run.config]
    shared, varied = _shared_and_varied(flats)
    return SweepFacts(
        name=label,
        folder=folder,
        states=dict(Counter(run.state for run in runs)),
        seconds=max(ends) - min(begins) if begins and ends else None,
        busy=sum(run.figure("seconds") or 0.0 for run in runs),
        config=_asked_for(folder) or "\n".join(f"{key}: {value}" for key, value in shared.items()),
        varied=varied,
    )


def _first_start(run: Run) -> float | None:
    """Return when a run's first process started, in seconds since 1970.

    status.json has the start of the last process; the first line of log.txt has that of the first.
    """
    started = run.status.started
    if started is None:
        return None
    try:
        with RunFolder(run.folder).log.open(encoding="utf-8", errors="replace") as stream:
            return min(started, time.mktime(time.strptime(stream.read(19), "%Y-%m-%d %H:%M:%S")))
    except (OSError, ValueError, OverflowError):
        return started


def _asked_for(folder: Path) -> str:
    """Return the text of the sweep's own record of its settings; "" if there is none."""
    try:
        return (folder / SWEEP_FILE).read_text("utf-8", "replace")
    except OSError:
        return ""


def _shared_and_varied(flats: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Return the keys with a single value in all configs, and the values of all other keys."""
    keys = dict.fromkeys(key for values in flats for key in values)
    values_of = {key: list(dict.fromkeys(text_of(values, key) for values in flats)) for key in keys}
    shared = {key: found[0] for key, found in values_of.items() if len(found) == 1}
    return shared, {key: found for key, found in values_of.items() if len(found) > 1}


def _machine(machine: dict[str, Any]) -> str:
    text = [f"{key} {machine[key]}" for key in (*KIND, "driver", "python") if machine.get(key) is not None]
    return ", ".join(text).removeprefix("device ") or "unknown"


def _code(run: Run) -> str:
    """Return the code of a run as text. The hash covers the network too, so it differs between networks."""
    packages = (run.result or {}).get("packages")
    beside = [f"{name} {version}" for name, version in packages.items()] if isinstance(packages, dict) else []
    text = f"rbp {run.code.get('version', '?')}, code {run.code.get('hash', '?')}"
    return f"{text}, with {', '.join(beside)}" if beside else text


def _versions(codes: list[dict[str, Any]]) -> int:
    """Return the minimum number of versions of the code: by hashes of one network, or by version numbers."""
    hashes: dict[str, set[str]] = {}
    for code in codes:
        hashes.setdefault(str(code.get("targets")), set()).add(str(code.get("hash")))
    of_one_network = max((len(found) for found in hashes.values()), default=0)
    return max(of_one_network, len({str(code.get("version")) for code in codes}))
