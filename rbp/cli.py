"""The command `rbp`: what is done beside training (`launch.py` trains)."""

import argparse
import sys

from rbp.errors import SweepFailed, UserError
from rbp.output import say


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit code."""
    from rbp.bench import run
    from rbp.sweep import commands as of_sweeps

    parser = argparse.ArgumentParser(prog="rbp", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    bench = commands.add_parser("bench", help="time and memory of a training step, by gradient mode and T")
    run.add_arguments(bench)
    bench.set_defaults(run=run.bench)
    of_sweeps.add_arguments(commands)
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except UserError as error:
        say(f"error: {error}", sys.stderr)
        return 1 if isinstance(error, SweepFailed) else 2
    except KeyboardInterrupt:
        return 130
