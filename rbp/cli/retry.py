"""`rbp retry`: run again what failed, was lost or never ended, where it was asked for."""

import argparse

from rbp.cli.picked import add_paths, pick_all
from rbp.errors import SweepFailed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp retry`."""
    add_paths(parser)
    parser.add_argument("--stale", action="store_true", help="also what other code than this computed")
    parser.add_argument(
        "--no-wait", action="store_true", help="return when the jobs are submitted (where they are jobs)"
    )


def command(args: argparse.Namespace) -> int:
    """Start unfinished runs again, failed ones included, with the launchers that they were started with.

    Raises:
        SweepFailed: Some runs failed again; the message covers all paths.
    """
    from rbp.sweep.retry import retry_runs

    failed = []
    for runs in pick_all(args.words).values():
        try:
            retry_runs({run.folder: run.keys for run in runs}, stale=args.stale, wait=not args.no_wait)
        except SweepFailed as error:  # the remaining paths are still retried
            failed.append(str(error))
    if failed:
        raise SweepFailed("\n".join(failed))
    return 0
