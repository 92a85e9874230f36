"""The command `rbp`: what is done beside training (`launch.py` trains)."""

import argparse
import sys

from rbp.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit code."""
    from rbp.bench import run
    from rbp.data import command

    parser = argparse.ArgumentParser(prog="rbp", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    bench = commands.add_parser("bench", help="time and memory of a training step, by gradient mode and T")
    run.add_arguments(bench)
    bench.set_defaults(run=run.bench)
    command.add_arguments(commands.add_parser("data", help="prepare event data: rbp data prepare NAME"))
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
