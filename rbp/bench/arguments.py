"""Parsing the command line of `rbp bench` into checked arguments for each table and a config for each T."""

import argparse
import itertools
from pathlib import Path

import torch
from omegaconf import DictConfig

from rbp.config import schema
from rbp.config.composition.messages import explain
from rbp.config.composition.session import COMPOSITION_ERRORS, compose
from rbp.errors import ConfigError
from rbp.rate.neurons.compiled import CHOICES
from rbp.sweep.grid.compose import freeze


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp bench` to a parser."""
    parser.add_argument("--arch", default="resnet18", help="an option of the group arch (resnet18)")
    parser.add_argument("--dataset", default="cifar10", help="whose image shape is used (cifar10)")
    parser.add_argument("--T", default="1,2,4,8", help="time steps, comma-separated (1,2,4,8)")
    parser.add_argument("--batch", default="32", help="images in a batch, comma-separated (32)")
    parser.add_argument(
        "--grad-mode",
        default="bptt,rate",
        help="of bptt, rate, sltt and ottt, comma-separated; the last two go step by step (bptt,rate)",
    )
    parser.add_argument("--step-mode", default="m", help="m, s or m,s (m)")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or fp32,bf16 (fp32)")
    parser.add_argument("--kernels", default="auto", help="of rate: auto, plain or compiled (auto)")
    parser.add_argument("--chunk", type=int, help="of rate: time steps in memory at once (all)")
    parser.add_argument("--segments", default="1", help="of time, of rate, comma-separated (1)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="also the contestants by torch.compile, which takes minutes (on a GPU they always are)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="counted steps of each contestant (5)")
    parser.add_argument("--profile", action="store_true", help="also each contestant's ten longest kernels")
    parser.add_argument("--seconds", type=float, help="begin no measurement after so many (no limit)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder for JSON and figure")


def tables(args: argparse.Namespace) -> list[argparse.Namespace]:
    """Return the arguments of each table, with a single batch size, step mode and precision each.

    Raises:
        ConfigError: An argument has a wrong value, or two exclude each other.
    """
    _check_numbers(args)
    if args.kernels not in CHOICES:
        raise ConfigError(f"--kernels {args.kernels}: one of {', '.join(CHOICES)}")
    segments = _numbers("--segments", args.segments, least=1)
    if args.chunk is not None and max(segments) > 1:
        raise ConfigError(
            f"--segments {args.segments} with --chunk {args.chunk}: only one of them can be used"
        )
    grad_modes = _words("--grad-mode", args.grad_mode, schema.GRAD_MODES)
    args = argparse.Namespace(**vars(args) | {"segments": segments, "grad_modes": grad_modes})
    batches = _numbers("--batch", args.batch, least=2)
    modes = _words("--step-mode", args.step_mode, ("m", "s"))
    precisions = _words("--precision", args.precision, schema.PRECISIONS)
    names = ("batch", "step_mode", "precision")
    values = itertools.product(batches, modes, precisions)
    return [argparse.Namespace(**vars(args) | dict(zip(names, each, strict=True))) for each in values]


def _check_numbers(args: argparse.Namespace) -> None:
    for option, number in (("--rounds", args.rounds), ("--chunk", args.chunk)):
        if number is not None and number < 1:
            raise ConfigError(f"{option} {number}: at least 1")
    if args.seconds is not None and not args.seconds > 0:
        raise ConfigError(f"--seconds {args.seconds:g}: more than 0")


def configs(args: argparse.Namespace) -> list[DictConfig]:
    """Return the config of each T for one table's arguments. Raises ConfigError if they do not compose."""
    return [_config(args, steps) for steps in _numbers("--T", args.T, least=1)]


def _config(args: argparse.Namespace, steps: int) -> DictConfig:
    overrides = [f"arch={args.arch}", f"dataset={args.dataset}", f"step_mode={args.step_mode}"]
    overrides += [f"trainer.precision={args.precision}", f"trainer.device={args.device}"]
    try:
        cfg = compose(overrides)
    except COMPOSITION_ERRORS as error:
        raise ConfigError(explain(error, overrides)) from error
    cfg.T = steps
    return freeze(cfg)


def check_place(args: argparse.Namespace) -> None:
    """Raise ConfigError if the output folder cannot be written or the device does not exist.

    Called before anything is measured.
    """
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {args.out}: not a folder that can be written: {error.strerror}") from error
    if not args.device.startswith("cuda"):
        return
    if not torch.cuda.is_available():
        raise ConfigError(f"--device {args.device}: there is no usable GPU here; allowed are auto and cpu")
    number = args.device.partition(":")[2]
    if number and int(number) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise ConfigError(f"--device {args.device}: this machine has cuda:0 to cuda:{last}")


def _numbers(option: str, text: str, least: int) -> list[int]:
    """Parse comma-separated whole numbers that are at least `least`."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < least:
        raise ConfigError(f"{option} {text}: must be whole numbers, {least} or more, comma-separated")
    return found


def _words(option: str, text: str, allowed: tuple[str, ...]) -> list[str]:
    """Parse comma-separated words that are all in `allowed`."""
    words = text.split(",")
    for word in words:
        if word not in allowed:
            raise ConfigError(f"{option} {text}: one or more of {', '.join(allowed)}, comma-separated")
    return words
