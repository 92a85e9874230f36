"""The command `rbp`: what is done beside training (`launch.py` trains)."""

import argparse
import sys

from rbp.errors import SweepFailed, UserError
from rbp.output import say


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit code."""
    from rbp.bench import run
    from rbp.report import write
    from rbp.sweep import commands as of_sweeps
    from rbp.track import dashboard, sync

    parser = argparse.ArgumentParser(prog="rbp", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    bench = commands.add_parser("bench", help="time and memory of a training step, by gradient mode and T")
    run.add_arguments(bench)
    bench.set_defaults(run=run.bench)
    of_sweeps.add_arguments(commands)
    report = commands.add_parser("report", help="runs side by side: a page, tables and figures")
    write.add_arguments(report)
    report.set_defaults(run=write.command)
    upload = commands.add_parser("sync", help="upload the offline wandb runs of finished runs")
    sync.add_arguments(upload)
    upload.set_defaults(run=sync.command)
    workspace = commands.add_parser("dashboard", help="make the comparison's workspace in wandb")
    dashboard.add_arguments(workspace)
    workspace.set_defaults(run=dashboard.command)
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except UserError as error:
        say(f"error: {error}", sys.stderr)
        return 1 if isinstance(error, SweepFailed) else 2
    except KeyboardInterrupt:
        return 130
