"""The grids that were started into one sweep, so that each run is labelled by what differs within its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from rbp.cli.picked import PickedRun
from rbp.sweep.state.sweepfolder import SweepFolder


@dataclass(frozen=True)
class Grid:
    """Runs that were started with the same keys swept.

    Attributes:
        shared: The keys in which these runs are alike but differ from others of the sweep, as text.
        runs: The runs, each with the keys in which it differs from the others here, as text.
    """

    shared: str
    runs: list[tuple[str, PickedRun]]


def grids(runs: Sequence[PickedRun]) -> list[Grid]:
    """Return the grids that runs of one sweep belong to, by the sweep's record of their swept keys."""
    record = SweepFolder(runs[0].folder.parent).read()["cells"]
    found: dict[frozenset[str], list[PickedRun]] = {}
    for run in runs:
        found.setdefault(frozenset(record.get(run.folder.name, {})), []).append(run)
    return [_grid(its) for its in found.values()] if len(found) > 1 else [_whole(runs)]


def _whole(runs: Sequence[PickedRun]) -> Grid:
    return Grid("", [(run.label, run) for run in runs])


def _grid(runs: list[PickedRun]) -> Grid:
    keys = dict.fromkeys(key for run in runs for key in run.keys)
    apart = [key for key in keys if len({run.keys.get(key) for run in runs}) > 1]
    if not apart:  # a single run, or several without a whole config
        return _whole(runs)
    own = [{key: run.keys[key] for key in apart if key in run.keys} for run in runs]
    return Grid(
        _text({key: value for key, value in runs[0].keys.items() if key not in apart}),
        [(_text(each) or run.folder.name, run) for each, run in zip(own, runs, strict=True)],
    )


def _text(keys: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in keys.items())
