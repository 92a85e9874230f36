"""`rbp check`: run every check, print a line for each result, and advise what to do."""

import argparse
import dataclasses
import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from rbp import __version__
from rbp.check.engine import VARIANTS, check_engine
from rbp.check.finding import Finding
from rbp.check.images import check_augmentation, check_frames
from rbp.check.ranks import check_ranks
from rbp.check.resume import check_resume
from rbp.check.runner import Check, run
from rbp.check.surroundings import (
    check_compiler,
    check_dataset,
    check_fused_neurons,
    check_slurm,
    check_wandb,
)
from rbp.config.composition.places import options
from rbp.errors import ConfigError
from rbp.files import write_bytes
from rbp.terminal.output import Screen, say, show
from rbp.terminal.wrapping import fold

COLOURS = {"ok": "green", "slow": "yellow", "wrong": "bold red", "absent": "dim"}
DEVICES = ("auto", "cpu", "cuda")
_LIMITS = {"compiled kernels": 90.0}  # seconds, for compiling a dozen kernels if torch's cache is empty


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp check` to a parser."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (auto: a GPU if there is one)")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="findings as JSON, in place of the lines or to FILE",
    )


def command(args: argparse.Namespace) -> int:
    """Run all checks.

    Returns:
        The exit code: 1 if something is wrong, else 0.

    Raises:
        ConfigError: The device is missing, or the JSON file cannot be written.
    """
    device = _device(args.device)
    to_stdout = args.json == "-"
    screen = Screen(file=sys.stderr if to_stdout else sys.stdout, highlight=False)
    found: list[Finding] = []
    if args.json and not to_stdout:
        _write(Path(args.json), found, device)  # fails early if the file cannot be written
    for check in checks():
        found.append(run(check, device))
        _show(found[-1], screen)  # at once, so that slow checks are visible
        if args.json and not to_stdout:
            _write(Path(args.json), found, device)  # so an interrupted command leaves its findings so far
    if to_stdout:
        say(_as_json(found, device), verbatim=True)
    return int(any(finding.status == "wrong" for finding in found))


def checks() -> Iterator[Check]:
    """Yield all checks, the quickest and most informative first."""
    for variant in VARIANTS:
        limit = _LIMITS.get(variant.name, 30.0)
        yield Check(f"engine, {variant.name}", functools.partial(check_engine, variant=variant), limit)
    yield Check("killed and resumed", check_resume, 60.0)
    yield Check("several ranks", check_ranks, 60.0)
    yield Check("augmentation", check_augmentation)
    yield Check("frames of events", check_frames)
    yield Check("compiler", check_compiler, 60.0)
    yield Check("SpikingJelly's fused neurons", check_fused_neurons)
    yield Check("Slurm", check_slurm)
    yield Check("wandb", check_wandb)
    for name in options("dataset"):
        yield Check(f"data, {name}", functools.partial(check_dataset, name))


def _show(finding: Finding, screen: Screen) -> None:
    """Print status, name, seconds and summary of a finding, and its advice unless all is well."""
    start = f"{finding.status:<7}{finding.name:<29}{finding.seconds:6.1f} s  "
    screen.print(start, style=COLOURS[finding.status], end="", markup=False, soft_wrap=True)
    room = max(screen.width - len(start), 20) if screen.is_terminal else sys.maxsize
    show(("\n" + " " * len(start)).join(fold(finding.summary, room, "")), screen)
    if finding.advice and finding.status != "ok":
        show(f"{'':<7}{finding.advice}", screen)


def _as_json(found: list[Finding], device: torch.device) -> str:
    """Return the findings as JSON text."""
    summary = {
        "rbp": __version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "checks": [dataclasses.asdict(finding) for finding in found],
    }
    return json.dumps(summary, indent=2)


def _device(wanted: str) -> torch.device:
    """Return the device to check. Raises ConfigError if it is unknown or missing."""
    if wanted not in DEVICES:
        raise ConfigError(f"--device {wanted}: must be one of {', '.join(DEVICES)}")
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ConfigError("--device cuda: there is no usable GPU here; allowed are cpu and auto")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def _write(file: Path, found: list[Finding], device: torch.device) -> None:
    """Write the findings to a JSON file."""
    try:
        write_bytes(file, f"{_as_json(found, device)}\n".encode())
    except OSError as error:
        raise ConfigError(f"--json {file}: cannot be written: {error.strerror}") from error
