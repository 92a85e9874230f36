"""The benchmark as a whole: measure each T, print the table, write it as JSON and as a figure."""

import argparse
import statistics
import time
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console

from rbp.bench.arguments import add_arguments, check_place, configs, tables
from rbp.bench.contestants import BPTT, DEFAULT_MODES, RATE_COMPILED, RELU, segments_of, who
from rbp.bench.figure import draw
from rbp.bench.limits import Speed, speed
from rbp.bench.machine import clock
from rbp.bench.measure import Bench, Timing, measure, ratio
from rbp.bench.profiling import LONGEST, as_text
from rbp.files import write_bytes, write_json
from rbp.gradients.online import ONLINE
from rbp.provenance import code_version
from rbp.rate.neurons.compiled import VARIANTS
from rbp.train.device import choose_device, describe_machine, prepare_torch

__all__ = ["add_arguments", "bench", "rows"]

HEADS = (
    *("T", "contestant", "wall ms", "cpu ms", "x relu", "x floor", "x bptt", "kept MiB", "peak MiB"),
    *("ops ms", "bytes ms"),
)
HEADS_GPU = (*HEADS, "launches", "layout")
_LEFT = {"contestant": 22, "layout": 14}  # left-aligned columns, with their widths


def bench(args: argparse.Namespace) -> int:
    """Run the benchmark: a table, a JSON file and a figure for each batch size, step mode and precision.

    Raises:
        ConfigError: The arguments make no sense.
    """
    until = float("inf") if args.seconds is None else time.monotonic() + args.seconds
    todo = [(one, configs(one)) for one in tables(args)]
    check_place(args)
    for one, cfgs in todo:
        table = _Table(one, cfgs, until)
        if not table.fill():
            print(f"Stopped after --seconds {args.seconds:g}: what was not begun by then is left out")
            break
    return 0


class _Table:
    """One table with its settings and its files, which are rewritten after each T."""

    def __init__(self, args: argparse.Namespace, cfgs: list[DictConfig], until: float) -> None:
        self.args, self.cfgs = args, cfgs
        self.device = choose_device(cfgs[0])
        names = who(args.compile or self.device.type == "cuda", args.kernels, args.segments, args.grad_modes)
        kernels = "plain" if RATE_COMPILED in names else args.kernels
        options = {"kernels": kernels, "chunk": args.chunk}
        self.bench = Bench(names, args.batch, self.device, args.rounds, options, until, args.profile)
        self.rows: list[dict[str, Any]] = []
        self.profiles: list[dict[str, Any]] = []

    def fill(self) -> bool:
        """Measure, print and write the table; return False if the time was up before all of it was begun."""
        if self.bench.late():
            return False
        _set_up_torch(self.cfgs[0], self.device)
        a = self.args
        print(f"{a.arch}, batch {a.batch}, step mode {a.step_mode}, {a.precision}")
        before = clock(self.device)
        limits = speed(self.device, a.precision)
        for cfg in self.cfgs:
            timings = measure(cfg, self.bench)
            self._add(cfg.T, timings, limits)
            done = cfg is self.cfgs[-1] and not self.bench.cut
            record = self._record(limits, before, done)
            self._write(record)
            if self.bench.cut or self.bench.late():
                break
        self._close(record)
        return done

    def _add(self, steps: int, timings: dict[str, Timing], limits: Speed) -> None:
        """Add the measurements of one T to the table, and print them."""
        new = rows(steps, timings, limits)
        heads = HEADS_GPU if self.device.type == "cuda" else HEADS
        _print(new, heads, first=not self.rows)
        self.rows += new
        for name, timing in timings.items():
            self.profiles.append({"T": steps, "contestant": name, "longest": timing.kernels[:LONGEST]})

    def _record(self, limits: Speed, before: dict[str, Any] | None, done: bool) -> dict[str, Any]:
        """Return the content of the JSON file."""
        args, cfg = self.args, self.cfgs[0]
        machine = describe_machine(cfg, self.device) | {"deterministic": False, "kernels": args.kernels}
        machine["spikingjelly_neurons"] = self.bench.neurons
        machine["operations_per_second"] = limits.operations
        machine["bytes_per_second"] = limits.moved_bytes
        machine["clock"] = None if before is None else {"before": before, "after": clock(self.device)}
        return {
            "arch": args.arch,
            "dataset": args.dataset,
            "batch": args.batch,
            "step_mode": args.step_mode,
            "grad_modes": args.grad_modes,
            "chunk": args.chunk,
            "rounds": args.rounds,
            "complete": done,
            "notes": self.bench.notes,
            "machine": machine,
            "code": code_version(cfg),
            "rows": self.rows,
        }

    def _write(self, record: dict[str, Any]) -> None:
        """Write the JSON file, the profiles if requested, and the figure."""
        stem = self._stem()
        write_json(self.args.out / f"{stem}.json", record)
        if self.args.profile:
            write_json(self.args.out / f"{stem}-profile.json", self.profiles)
            write_bytes(self.args.out / f"{stem}-profile.txt", as_text(self.profiles).encode())
        try:
            draw(record, self.args.out / f"{stem}.svg")
        except ModuleNotFoundError as error:  # the numbers are useful without matplotlib too
            self.bench.note(f"no figure: {error}")

    def _stem(self) -> str:
        """Return the files' common name, without suffix."""
        args = self.args
        stem = f"{args.arch}-B{args.batch}-{args.step_mode}-{args.precision}-{self.device.type}"
        stem += "" if args.kernels == "auto" else f"-{args.kernels}"
        stem += "" if args.grad_modes == list(DEFAULT_MODES) else f"-{','.join(args.grad_modes)}"
        stem += "" if args.segments == [1] else f"-segments{','.join(map(str, args.segments))}"
        return stem + ("" if args.chunk is None else f"-chunk{args.chunk}")

    def _close(self, record: dict[str, Any]) -> None:
        """Print the notes, the machine and the files."""
        machine = record["machine"]
        for note in record["notes"]:
            print(note)
        if self.device.type == "cuda":
            print(f"SpikingJelly's neurons: {machine['spikingjelly_neurons']}. Clock: {machine['clock']}")
        print(f"on {machine['device']}, {machine['threads']} threads, torch {machine['torch']}")
        files = ".json, .svg" + (", -profile.json, -profile.txt" if self.args.profile else "")
        print(f"Files: {self.args.out / self._stem()}{files}")


def _set_up_torch(cfg: DictConfig, device: torch.device) -> None:
    """Set torch up for speed alone, with room for the compiled networks of all tables and layouts."""
    if device.type == "cuda":
        torch.cuda.set_device(device)  # Triton launches kernels on the current device
    prepare_torch(cfg)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    torch._dynamo.config.recompile_limit = VARIANTS


def rows(steps: int, timings: dict[str, Timing], limits: Speed | None = None) -> list[dict[str, Any]]:
    """Return the table's rows at one T; seconds are medians over rounds.

    `times_floor` is the time relative to a floor of T forward passes and one backward pass for each of k time
    segments. As a backward pass costs about two forward passes, the floor is (T+2k)/3 of the ReLU network's
    step; that of an online mode, which goes back at every step, is T. `operations_seconds` and
    `bytes_seconds` are the least times that the step's operations and moved bytes take on this device. A
    ratio to a contestant that is not in the table is None.

    Args:
        steps: T.
        timings: Timings by contestant.
        limits: The device's speed; None leaves `operations_seconds` and `bytes_seconds` None.
    """
    return [_row(steps, name, timing, timings, limits) for name, timing in timings.items()]


def _row(
    steps: int, name: str, timing: Timing, timings: dict[str, Timing], limits: Speed | None
) -> dict[str, Any]:
    relu, bptt = timings.get(RELU), timings.get(BPTT)
    work, segments = timing.work, segments_of(name)
    floor = float(steps) if name in ONLINE else (steps + 2 * segments) / 3
    return {
        "T": steps,
        "contestant": name,
        "segments": segments,
        "wall_seconds": statistics.median(timing.wall),
        "cpu_seconds": statistics.median(timing.cpu),
        "times_relu": relu and ratio(timing.wall, relu.wall),
        "times_floor": relu and ratio(timing.wall, relu.wall) / floor,
        "times_floor_cpu": relu and ratio(timing.cpu, relu.cpu) / floor,
        "times_bptt": bptt and ratio(timing.wall, bptt.wall),
        "kept_bytes": timing.kept_bytes,
        "peak_bytes": timing.peak_bytes,
        "operations": work and work.operations,
        "moved_bytes": work and work.moved_bytes,
        "operations_seconds": work and limits and work.operations / limits.operations,
        "bytes_seconds": work and limits and work.moved_bytes / limits.moved_bytes,
        "kernel_launches": timing.kernel_launches,
        "layout": timing.layout,
    }


def _print(table: list[dict[str, Any]], heads: tuple[str, ...], first: bool) -> None:
    """Print rows, with the column heads before the first ones."""
    console = Console(highlight=False, soft_wrap=True)
    if first:
        console.out(_line({head: head for head in heads}))
    for row in table:
        cells = _cells(row)
        console.out(_line({head: cells[head] for head in heads}))


def _cells(row: dict[str, Any]) -> dict[str, str]:
    """Return the texts of a row by column head."""

    def number(key: str, form: str, scale: float = 1) -> str:
        return "-" if row[key] is None else f"{row[key] * scale:{form}}"

    def milliseconds(key: str) -> str:
        return number(key, ",.2f" if (row[key] or 0) < 0.1 else ",.1f", 1e3)

    return {
        "T": str(row["T"]),
        "contestant": row["contestant"],
        "wall ms": milliseconds("wall_seconds"),
        "cpu ms": milliseconds("cpu_seconds"),
        "x relu": number("times_relu", ".2f"),
        "x floor": number("times_floor", ".2f"),
        "x bptt": number("times_bptt", ".2f"),
        "kept MiB": number("kept_bytes", ",.1f", 2**-20),
        "peak MiB": number("peak_bytes", ",.1f", 2**-20),
        "ops ms": milliseconds("operations_seconds"),
        "bytes ms": milliseconds("bytes_seconds"),
        "launches": number("kernel_launches", ","),
        "layout": row["layout"],
    }


def _line(cells: dict[str, str]) -> str:
    words = (
        "  " + text.ljust(_LEFT[head]) if head in _LEFT else text.rjust(9) for head, text in cells.items()
    )
    return "".join(words).rstrip()
