"""`rbp dashboard`: a wandb workspace that compares runs, made with wandb-workspaces (the extra `dashboard`).

It has the report's figures under the report's titles, as far as wandb can draw them from what runs have
logged. Runs are grouped by data set, architecture, step mode, T and gradient mode. Each line or bar shows one
group over its seeds, in the colour of its gradient mode; T is not an axis but tells groups apart.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from rbp.errors import UserError
from rbp.files import write_bytes
from rbp.output import say
from rbp.report.figures.style import COLOURS
from rbp.report.read import LOSSES, Run, read_runs
from rbp.runs.metrics import GRAD_NORM, STEP_LOSS
from rbp.track.reader import ELAPSED
from rbp.track.values import of_layer

FILE = "dashboard.json"
GROUPS = ("dataset", "arch", "step_mode", "T", "grad_mode")
MEAN: dict[str, Any] = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
# Title -> x axis and what is shown over it.
CURVES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Accuracy over epochs": ("epoch", ("test_acc",)),
    "Accuracy over time": (ELAPSED, ("test_acc",)),
    "Loss over epochs": ("epoch", LOSSES),
    "Firing rate over epochs": ("epoch", ("firing_rate",)),
}
STEPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Loss of single steps": ("Step", (STEP_LOSS,)),
    "Norm of the gradients": ("Step", (GRAD_NORM,)),
}
BARS = {
    "Accuracy over T": "headline_acc",
    "Time over T": "step_seconds",
    "Memory over T": "peak_memory_bytes",
}


def workspace(paths: list[Path], entity: str | None, project: str | None) -> Any:
    """Build the workspace of the runs below `paths`.

    Args:
        paths: Sweep or run folders.
        entity: wandb account or team; None takes `tracker.entity` of the runs.
        project: wandb project; None takes `tracker.project` of the runs.

    Returns:
        A `wandb_workspaces.workspaces.Workspace`, not saved yet.

    Raises:
        UserError: wandb-workspaces is not installed.
    """
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
        sections=[_curves("Over epochs", CURVES), _bars(), _layers(runs), _curves("Steps", STEPS)],
        runset_settings=settings,
    )


def _groups(runs: list[Run]) -> list[tuple[str, ...]]:
    """Return the groups of the runs, each once, as values of GROUPS."""
    found = (tuple(str(getattr(run, key)) for key in GROUPS) for run in runs if run.grad_mode in COLOURS)
    return list(dict.fromkeys(found))


def _curves(name: str, figures: dict[str, tuple[str, tuple[str, ...]]]) -> Any:
    """Return a section with curves: mean and standard deviation over each group's seeds."""
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as panels

    plots: list[Any] = [
        panels.LinePlot(title=title, x=x, y=[*keys], smoothing_type="none", **MEAN)
        for title, (x, keys) in figures.items()
    ]
    return ws.Section(name=name, panels=plots, is_open=True)


def _bars() -> Any:
    """Return the section of accuracy, time and memory with a bar for each T and gradient mode."""
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as panels

    plots: list[Any] = [
        panels.BarPlot(title=title, metrics=[panels.SummaryMetric(key)], orientation="v", **MEAN)
        for title, key in BARS.items()
    ]
    cost, accuracy = panels.SummaryMetric("step_seconds"), panels.SummaryMetric("headline_acc")
    plots.append(panels.ScatterPlot(title="Accuracy against cost", x=cost, y=accuracy, running_ymax=False))
    return ws.Section(name="Over T, by gradient mode", panels=plots, is_open=True)


def _layers(runs: list[Run]) -> Any:
    """Return the section with the firing rate of every layer of these runs, by its name."""
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as panels

    layers = dict.fromkeys(layer for run in runs for layer in run.firing_rates)
    metrics: list[Any] = [panels.SummaryMetric(of_layer(layer)) for layer in layers]
    plot = panels.BarPlot(title="Firing rate by layer", metrics=metrics, orientation="v", **MEAN)
    return ws.Section(name="Firing rates", panels=[plot] if metrics else [], is_open=True)


def as_json(made: Any) -> str:
    """Return the workspace as the JSON text that wandb-workspaces would send."""
    model = made._to_model()  # there is no public method that returns the JSON
    return json.dumps(json.loads(model.model_dump_json(by_alias=True, exclude_none=True)), indent=2) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp dashboard` to a parser."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="sweeps' or runs' folders")
    parser.add_argument("--entity", help="account or team; default: tracker.entity of the runs")
    parser.add_argument("--project", help="default: tracker.project of the runs")
    parser.add_argument("--dry-run", action="store_true", help=f"write its JSON to PATH/{FILE}, send nothing")


def command(args: argparse.Namespace) -> int:
    """Run `rbp dashboard`: save the workspace to wandb, or with --dry-run write its JSON to a file."""
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
    except Exception as error:  # wandb and the network raise many types
        raise UserError(f"wandb did not take the workspace: {' '.join(str(error).split())}") from error
    say(f"Workspace: {made.url}")
    return 0
