"""Train spiking neural networks in runs and grids, and work with their results."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from rbp import __version__
from rbp.errors import SweepFailed, UserError
from rbp.garbage import spare_old_objects
from rbp.terminal.output import degrade_output, exit_code, say

# The command `rbp`: `rbp train` is launch.py, the other subcommands work on data sets, runs and sweeps.
# Modules in this package: one per subcommand (`evaluate` for `rbp eval`), `picked` (the runs that a command
# line names), `grids` (which of them were started together) and `changed_config` (the KEY=VALUE of
# `rbp eval`).
#
# Subcommand -> (help text, module, function that adds its arguments, function that runs it). Only the module
# of the chosen subcommand is imported: some need torch, and `rbp status` should answer at once.
COMMANDS = {
    "train": ("one run or a grid of them: python launch.py, from any folder", "", "", ""),
    "status": ("the state of every run, of a sweep or of all", "rbp.cli.status", "add_arguments", "command"),
    "logs": ("the log of one run and of its job; -f follows", "rbp.cli.logs", "add_arguments", "command"),
    "retry": ("run again what failed or was lost", "rbp.cli.retry", "add_arguments", "command"),
    "cancel": ("stop the jobs of a sweep, or of one run", "rbp.cli.cancel", "add_arguments", "command"),
    "clean": ("remove checkpoints that are not needed", "rbp.cli.clean", "add_arguments", "command"),
    "report": ("runs side by side: page, tables, figures", "rbp.report.write", "add_arguments", "command"),
    "choose": ("the best value of a key by held-out images", "rbp.report.choose", "add_arguments", "command"),
    "eval": ("accuracy of trained weights, at another T too", "rbp.cli.evaluate", "add_arguments", "command"),
    "align": ("how far gradients are from BPTT's", "rbp.cli.align", "add_arguments", "command"),
    "sync": ("upload offline wandb runs that are finished", "rbp.track.sync", "add_arguments", "command"),
    "dashboard": ("a workspace in wandb", "rbp.track.dashboard", "add_arguments", "command"),
    "data": ("prepare event data or ImageNet; speed of reading", "rbp.cli.data", "add_arguments", "command"),
    "init": ("a repository of your own around rbp", "rbp.cli.init", "add_arguments", "command"),
    "check": ("is this installation right on this machine?", "rbp.check.command", "add_arguments", "command"),
    "bench": ("time and memory of a training step", "rbp.bench.run", "add_arguments", "bench"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: The command line without the program's name; None takes `sys.argv`.

    Returns:
        The exit code: 0 for success, 1 for a failure, 2 for a wrong command line, 130 for Ctrl-C.
    """
    degrade_output()
    spare_old_objects()
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["train"]:  # has a command line of its own, parsed by Hydra
        from rbp.sweep import launch

        return launch.main(argv[1:])
    parser = argparse.ArgumentParser(prog="rbp", description=__doc__)
    parser.add_argument("--version", action="version", version=f"rbp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (purpose, module_name, add, run) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        if argv[:1] == [name]:
            module = importlib.import_module(module_name)
            getattr(module, add)(command)
            command.set_defaults(run=getattr(module, run))
    try:
        args = _parse(parser, argv)
    except SystemExit as end:  # argparse has already printed the help or an error message
        return exit_code(end)
    try:
        return int(args.run(args))
    except UserError as error:
        say(f"error: {error}", sys.stderr)
        return 1 if isinstance(error, SweepFailed) else 2
    except KeyboardInterrupt:
        return 130


def _parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; words may follow options too, which argparse does not allow."""
    args, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(args, "words") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.words += rest
    return args
