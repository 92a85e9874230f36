"""The benchmark as a whole: measure each T, print the table, write it as JSON and as a figure."""

import argparse
import itertools
import statistics
from pathlib import Path
from typing import Any

import torch
from hydra import initialize_config_dir
from omegaconf import DictConfig
from rich.console import Console

from rbp.bench.contestants import BPTT, NAMES, RELU
from rbp.bench.figure import draw
from rbp.bench.measure import Timing, measure, ratio
from rbp.config import schema
from rbp.errors import ConfigError
from rbp.provenance import code_version
from rbp.rate.compiled import CHOICES
from rbp.runfolder import write_json
from rbp.sweep.compose import freeze
from rbp.sweep.composer import COMPOSITION_ERRORS, compose_with
from rbp.sweep.messages import explain
from rbp.sweep.places import CONF
from rbp.train.device import choose_device, describe_machine, prepare_torch

HEADS = ("T", "contestant", "wall ms", "cpu ms", "x relu", "x floor", "x bptt", "kept MiB", "peak MiB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `rbp bench` takes."""
    parser.add_argument("--arch", default="resnet18", help="an option of the group arch (resnet18)")
    parser.add_argument("--dataset", default="cifar10", help="whose image shape is used (cifar10)")
    parser.add_argument("--T", default="1,2,4,8", help="time steps, comma-separated (1,2,4,8)")
    parser.add_argument("--batch", default="32", help="images in a batch, comma-separated (32)")
    parser.add_argument("--step-mode", default="m", help="m, s or m,s (m)")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or fp32,bf16 (fp32)")
    parser.add_argument("--kernels", default="auto", help="of rate: auto, plain or compiled (auto)")
    parser.add_argument("--chunk", type=int, help="of rate: time steps in memory at once (all)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--rounds", type=int, default=5, help="counted steps of each contestant (5)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder for JSON and figure")


def bench(args: argparse.Namespace) -> int:
    """Run the benchmark of the command line's arguments: a table, a JSON file and a figure for each batch
    size, step mode and precision. Raises ConfigError for arguments that make no sense."""
    tables = _tables(args)
    configs = [[_config(one, steps) for steps in _numbers("--T", one.T, least=1)] for one in tables]
    _check_place(args)
    for one, cfgs in zip(tables, configs, strict=True):
        _bench(one, cfgs)
    return 0


def _tables(args: argparse.Namespace) -> list[argparse.Namespace]:
    """The arguments of each table, with one batch size, step mode and precision."""
    if args.rounds < 1 or (args.chunk or 1) < 1:
        raise ConfigError(f"--rounds {args.rounds} --chunk {args.chunk}: at least 1")
    if args.kernels not in CHOICES:
        raise ConfigError(f"--kernels {args.kernels}: one of {', '.join(CHOICES)}")
    batches = _numbers("--batch", args.batch, least=2)
    modes = _words("--step-mode", args.step_mode, ("m", "s"))
    precisions = _words("--precision", args.precision, schema.PRECISIONS)
    names = ("batch", "step_mode", "precision")
    values = itertools.product(batches, modes, precisions)
    return [argparse.Namespace(**vars(args) | dict(zip(names, each, strict=True))) for each in values]


def _check_place(args: argparse.Namespace) -> None:
    """Before anything is measured: the folder and the device."""
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {args.out}: not a folder that can be written: {error.strerror}") from error
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"--device {args.device}: there is no usable GPU here; allowed are auto and cpu")


def _words(option: str, text: str, allowed: tuple[str, ...]) -> list[str]:
    words = text.split(",")
    for word in words:
        if word not in allowed:
            raise ConfigError(f"{option} {text}: one or more of {', '.join(allowed)}, comma-separated")
    return words


def _bench(args: argparse.Namespace, cfgs: list[DictConfig]) -> None:
    """One table."""
    device = choose_device(cfgs[0])
    prepare_torch(cfgs[0])
    torch.use_deterministic_algorithms(False)
    print(_heading(args))
    table = []
    for cfg in cfgs:
        options = {"kernels": args.kernels, "chunk": args.chunk}
        timings = measure(cfg, list(NAMES), args.batch, device, args.rounds, options)
        table += rows(cfg.T, timings)
        _print(table[-len(timings) :], first=cfg is cfgs[0])
    stem = f"{args.arch}-B{args.batch}-{args.step_mode}-{args.precision}-{device.type}"
    stem += "" if args.kernels == "auto" else f"-{args.kernels}"
    stem += "" if args.chunk is None else f"-chunk{args.chunk}"
    what: dict[str, Any] = {
        "arch": args.arch,
        "dataset": args.dataset,
        "batch": args.batch,
        "step_mode": args.step_mode,
        "chunk": args.chunk,
    }
    machine = describe_machine(cfgs[0], device) | {"deterministic": False, "kernels": args.kernels}
    record = {**what, "rounds": args.rounds, "machine": machine, "code": code_version(cfgs[0]), "rows": table}
    write_json(args.out / f"{stem}.json", record)
    draw(record, args.out / f"{stem}.svg")
    print(f"on {machine['device']}, {machine['threads']} threads, torch {machine['torch']}")
    print(f"Files: {args.out / stem}.json, .svg")


def _numbers(option: str, text: str, least: int) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < least:
        raise ConfigError(f"{option} {text}: must be whole numbers, {least} or more, comma-separated")
    return numbers


def _config(args: argparse.Namespace, steps: int) -> DictConfig:
    overrides = [f"arch={args.arch}", f"dataset={args.dataset}", f"step_mode={args.step_mode}"]
    overrides += [f"trainer.precision={args.precision}", f"trainer.device={args.device}"]
    schema.register()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose_with(overrides)
    except COMPOSITION_ERRORS as error:
        raise ConfigError(explain(error, overrides)) from error
    cfg.T = steps
    return freeze(cfg)


def rows(steps: int, timings: dict[str, Timing]) -> list[dict[str, Any]]:
    """The table's rows at one T. `times_floor`: the floor is T forwards and one backward, (T+2)/3 of the ReLU
    network's step, as a backward pass costs about two forwards."""
    relu, bptt = timings[RELU], timings[BPTT]
    return [
        {
            "T": steps,
            "contestant": name,
            "wall_seconds": statistics.median(timing.wall),
            "cpu_seconds": statistics.median(timing.cpu),
            "times_relu": ratio(timing.wall, relu.wall),
            "times_floor": ratio(timing.wall, relu.wall) * 3 / (steps + 2),
            "times_floor_cpu": ratio(timing.cpu, relu.cpu) * 3 / (steps + 2),
            "times_bptt": ratio(timing.wall, bptt.wall),
            "kept_bytes": timing.kept_bytes,
            "peak_bytes": timing.peak_bytes,
        }
        for name, timing in timings.items()
    ]


def _heading(args: argparse.Namespace) -> str:
    return f"{args.arch}, batch {args.batch}, step mode {args.step_mode}, {args.precision}"


def _print(table: list[dict[str, Any]], first: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if first:
        console.out(
            "".join("  " + head.ljust(14) if head == "contestant" else head.rjust(9) for head in HEADS)
        )
    for row in table:
        peak = "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:,.1f}"
        figures = [f"{row['wall_seconds'] * 1e3:,.1f}", f"{row['cpu_seconds'] * 1e3:,.1f}"]
        figures += [f"{row[key]:.2f}" for key in ("times_relu", "times_floor", "times_bptt")]
        figures += [f"{row['kept_bytes'] / 2**20:,.1f}", peak]
        console.out(
            f"{row['T']:>9}  {row['contestant']:<14}" + "".join(figure.rjust(9) for figure in figures)
        )
