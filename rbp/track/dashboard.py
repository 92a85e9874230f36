"""`rbp dashboard`: a wandb workspace that compares runs, made with wandb-workspaces (the extra `dashboard`).

It has the report's figures under the report's titles, as far as wandb can draw them from what runs have
logged, and compares what the report compares. Runs are grouped by all that keeps them apart, last by the
compared key. Each line or bar shows one group over its seeds, in the colour of its compared value; the key of
the report's x axis is not an axis here, but tells groups apart.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rbp.errors import UserError
from rbp.files import write_bytes
from rbp.report.comparison.axes import Axes, choose_axes
from rbp.report.comparison.groups import group_runs
from rbp.report.comparison.settings import METHOD, settings, shown, text_of
from rbp.report.figures.style import styles
from rbp.report.read import LOSSES, MISSING, Run, read_runs
from rbp.runs.metrics import GRAD_NORM, STEP_LOSS
from rbp.terminal.output import say
from rbp.track.reader import ELAPSED
from rbp.track.values import after_step, of_layer

FILE = "dashboard.json"
ALWAYS = (
    "dataset.name",
    "arch.name",
    "step_mode",
    "T",
)  # groups that say what runs are, also if all are equal
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
BARS = {"Accuracy": "headline_acc", "Time": "step_seconds", "Memory": "peak_memory_bytes"}  # over the x axis


def workspace(
    paths: list[Path],
    entity: str | None,
    project: str | None,
    compare: str | None = None,
    x: str | None = None,
) -> Any:
    """Build the workspace of the runs below `paths`.

    Args:
        paths: Sweep or run folders.
        entity: wandb account or team; None takes `tracker.entity` of the runs.
        project: wandb project; None takes `tracker.project` of the runs.
        compare, x: As in `rbp report`.

    Returns:
        A `wandb_workspaces.workspaces.Workspace`, not saved yet.

    Raises:
        UserError: wandb-workspaces is not installed, or a key does not differ between the runs.
    """
    try:
        from wandb_workspaces import workspaces as ws
    except ImportError as error:
        raise UserError("wandb-workspaces is not here: pip install 'rbp-snn[dashboard]'") from error
    runs, _ = read_runs(paths)
    axes = choose_axes(runs, compare, x=x)
    keys = _group_keys(runs, axes)
    sweeps = sorted({run.sweep for run in runs})
    tracker: dict[str, Any] = next((run.config["tracker"] for run in runs if run.config.get("tracker")), {})
    shown_runs = ws.RunsetSettings(
        filters=[ws.Config("sweep").isin(sweeps)],
        groupby=[ws.Config(_in_wandb(key)) for key in keys],
        group_colors={ws.GroupPath(*path): colour for path, colour in _colours(runs, axes, keys).items()},
    )
    return ws.Workspace(
        entity=entity or tracker.get("entity") or "",
        project=project or tracker.get("project") or "rbp",
        name=f"rbp: {', '.join(sweeps)}"[:120],
        sections=[
            *(_curves("Over epochs", CURVES), _bars(axes), _energy(runs), _layers(runs)),
            _curves("Steps", STEPS),
        ],
        runset_settings=shown_runs,
    )


def _group_keys(runs: Sequence[Run], axes: Axes) -> list[str]:
    """Return the keys to group by, those of the comparison last; of the gradient mode, each that differs."""
    keys = [*ALWAYS, *axes.facets, *axes.beside, *([axes.x] if axes.x else []), axes.compare]
    keys = [key for n, key in enumerate(keys) if key != MISSING and key not in keys[n + 1 :]]
    known = dict.fromkeys(key for run in runs for key in run.mode_keys)  # some modes have keys of their own
    of_mode = [key for key in known if len({str(run.mode_keys.get(key)) for run in runs}) > 1]
    before = {METHOD: [key for key in of_mode if key not in keys]}
    return [part for key in keys for part in (*before.get(key, ()), key)]


def _in_wandb(key: str) -> str:
    """Return a key as wandb's config has it: options by their group, other keys of groups below `config`."""
    return f"config.{key}" if "." in shown(key) else shown(key)


def _colours(runs: Sequence[Run], axes: Axes, keys: Sequence[str]) -> dict[tuple[str, ...], str]:
    """Return the colour of each group, by its values of the keys."""
    found = [settings(run, axes.unfold) for run in runs]
    looks = styles(group_runs(runs, axes)[0].values)  # in the report's order, which decides who looks how
    paths = (
        tuple(run.grad_mode if key == METHOD else text_of(values | run.mode_keys, key) for key in keys)
        for run, values in zip(runs, found, strict=True)
    )
    return {
        path: looks[text_of(values, axes.compare)].colour for path, values in zip(paths, found, strict=True)
    }


def _curves(name: str, figures: dict[str, tuple[str, tuple[str, ...]]]) -> Any:
    """Return a section with curves: mean and standard deviation over each group's seeds."""
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as panels

    plots: list[Any] = [
        panels.LinePlot(title=title, x=x, y=[*keys], smoothing_type="none", **MEAN)
        for title, (x, keys) in figures.items()
    ]
    return ws.Section(name=name, panels=plots, is_open=True)


def _bars(axes: Axes) -> Any:
    """Return the section of accuracy, time and memory with a bar for each group."""
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as panels

    over = shown(axes.x or axes.compare)
    plots: list[Any] = [
        panels.BarPlot(
            title=f"{title} over {over}", metrics=[panels.SummaryMetric(key)], orientation="v", **MEAN
        )
        for title, key in BARS.items()
    ]
    cost, accuracy = panels.SummaryMetric("step_seconds"), panels.SummaryMetric("headline_acc")
    plots.append(panels.ScatterPlot(title="Accuracy against cost", x=cost, y=accuracy, running_ymax=False))
    return ws.Section(name=f"Over {over}", panels=plots, is_open=True)


def _energy(runs: list[Run]) -> Any:
    """Return the section with the accuracy after each time step, and against the energy of an image."""
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as panels

    plots: list[Any] = []
    if steps := max((len(run.acc_over_t) for run in runs), default=0):
        metrics: list[Any] = [panels.SummaryMetric(after_step(t)) for t in range(1, steps + 1)]
        plots.append(panels.BarPlot(title="Accuracy over t", metrics=metrics, orientation="v", **MEAN))
    if any("energy_uj" in run.energy for run in runs):
        energy, accuracy = panels.SummaryMetric("energy_uj"), panels.SummaryMetric("test_acc")
        plots.append(
            panels.ScatterPlot(title="Accuracy against energy", x=energy, y=accuracy, running_ymax=False)
        )
    return ws.Section(name="Time steps and energy", panels=plots, is_open=True)


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
    parser.add_argument(
        "--compare", metavar="KEY", help="the key whose values are compared; as in rbp report"
    )
    parser.add_argument("--x", metavar="KEY", help="the key of the x axis; as in rbp report")
    parser.add_argument("--dry-run", action="store_true", help=f"write its JSON to PATH/{FILE}, send nothing")


def command(args: argparse.Namespace) -> int:
    """Run `rbp dashboard`: save the workspace to wandb, or with --dry-run write its JSON to a file."""
    made = workspace(args.paths, args.entity, args.project, args.compare, args.x)
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
