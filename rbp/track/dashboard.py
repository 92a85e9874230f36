"""`rbp dashboard`: the comparison as a workspace in wandb, by wandb-workspaces (the extra `dashboard`).

Its runs are grouped by data set, architecture, step mode, T and gradient mode, so that every line and bar is
one such group over its seeds, in its gradient mode's colour.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from rbp.errors import UserError
from rbp.files import write_bytes
from rbp.output import say
from rbp.report.figures.style import COLOURS
from rbp.report.read import Run, read_runs

FILE = "dashboard.json"
GROUPS = ("dataset", "arch", "step_mode", "T", "grad_mode")
CURVES = {"test_acc": "Test accuracy", "train_loss": "Training loss", "firing_rate": "Firing rate"}
BARS = {
    "test_acc": "Test accuracy",
    "step_seconds": "Training step (s)",
    "peak_memory_bytes": "Memory of a training step (bytes)",
}


def workspace(paths: list[Path], entity: str | None, project: str | None) -> Any:
    """The workspace of the runs below paths; entity and project None: as in their configs."""
    try:
        from wandb_workspaces import workspaces as ws
    except ImportError as error:
        raise UserError("wandb-workspaces is not here: pip install 'rbp[dashboard]'") from error
    runs, _ = read_runs(paths)
    sweeps = sorted({run.sweep for run in runs})
    tracker: dict[str, Any] = next((run.config["tracker"] for run in runs if run.config.get("tracker")), {})
    settings = ws.RunsetSettings(
        filters=[ws.Config("sweep").isin(sweeps)],
        groupby=[ws.Config(key) for key in GROUPS],
        group_colors={ws.GroupPath(*path): COLOURS[path[-1]] for path in _groups(runs)},
    )
    return ws.Workspace(
        entity=entity or tracker.get("entity") or "",
        project=project or tracker.get("project") or "rbp",
        name=f"BPTT and Rate-BP: {', '.join(sweeps)}"[:120],
        sections=[_curves(), _bars()],
        runset_settings=settings,
    )


def _groups(runs: list[Run]) -> list[tuple[str, ...]]:
    found = (tuple(str(getattr(run, key)) for key in GROUPS) for run in runs if run.grad_mode in COLOURS)
    return list(dict.fromkeys(found))


def _curves() -> Any:
    """Mean over the seeds of each group with its standard deviation, over epochs."""
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as panels

    look: dict[str, Any] = {
        "groupby_aggfunc": "mean",
        "groupby_rangefunc": "stddev",
        "smoothing_type": "none",
    }
    plots: list[Any] = [
        panels.LinePlot(title=title, x="epoch", y=[key], **look) for key, title in CURVES.items()
    ]
    return ws.Section(name="Over epochs", panels=plots, is_open=True)


def _bars() -> Any:
    """A bar for each group: accuracy, time and memory over T, both gradient modes side by side."""
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as panels

    look: dict[str, Any] = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev", "orientation": "v"}
    plots: list[Any] = [
        panels.BarPlot(title=f"{title} over T", metrics=[panels.SummaryMetric(key)], **look)
        for key, title in BARS.items()
    ]
    return ws.Section(name="Over T, by gradient mode", panels=plots, is_open=True)


def as_json(made: Any) -> str:
    """What wandb-workspaces would send, as text."""
    model = made._to_model()  # it has no public way to its JSON
    return json.dumps(json.loads(model.model_dump_json(by_alias=True, exclude_none=True)), indent=2) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `rbp dashboard`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="sweeps' or runs' folders")
    parser.add_argument("--entity", help="account or team; default: tracker.entity of the runs")
    parser.add_argument("--project", help="default: tracker.project of the runs")
    parser.add_argument("--dry-run", action="store_true", help=f"write its JSON to PATH/{FILE}, send nothing")


def command(args: argparse.Namespace) -> int:
    """`rbp dashboard`: make the workspace, or with --dry-run write its JSON."""
    made = workspace(args.paths, args.entity, args.project)
    if args.dry_run:
        file = args.paths[0] / FILE
        write_bytes(file, as_json(made).encode())
        say(f"Workspace as JSON: {file}")
        return 0
    if not made.entity:
        raise UserError("--entity: which account or team of wandb? or set tracker.entity in the runs' config")
    try:
        made.save()
    except Exception as error:  # wandb's and the network's, many kinds
        raise UserError(f"wandb did not take the workspace: {' '.join(str(error).split())}") from error
    say(f"Workspace: {made.url}")
    return 0
