"""`rbp align`: how far other modes' gradients are from BPTT's at the weights of a run's checkpoint."""

import argparse
import contextlib
import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

from rbp.alignment import ALL, FEWEST
from rbp.errors import ConfigError, UserError
from rbp.files import write_bytes
from rbp.runs.alignment import NOISE_FLOOR, layers, mean_and_std, mean_of, rows, shown_layer
from rbp.runs.checkpoints import WEIGHTS, choose_checkpoint
from rbp.runs.config import read_frozen
from rbp.runs.folder import RunFolder
from rbp.runs.result import read_result
from rbp.terminal.output import Screen, say
from rbp.terminal.tables import MISSING, Number, Table
from rbp.working_directory import import_from_here


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp align`."""
    parser.usage = (
        "rbp align RUN [KEY=VALUE ...] [--weights best|last] [--segments 1,2,4] [--batches 8] [--json] "
        "[--csv FILE] [--figure FILE.svg]"
    )
    parser.epilog = (
        "Compares gradients at the same weights, training batches and random masks, and leaves the run as it "
        "is. KEY=VALUE changes the config that it was trained with, such as T=8 or trainer.device=cpu. "
        "docs/alignment.md explains the numbers."
    )
    parser.add_argument("words", nargs="+", metavar="RUN", help="runs/SWEEP/RUN")
    parser.add_argument("--weights", choices=tuple(WEIGHTS), help="of which epoch (the one that counts)")
    parser.add_argument("--segments", metavar="K,...", help="of time in rate mode (1,2,4,... below T, and T)")
    parser.add_argument("--batches", type=int, default=FEWEST, help=f"at least {FEWEST} (the default)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a row for each mode and layer")
    parser.add_argument("--figure", type=Path, metavar="FILE.svg", help="draw the cosines by layer")


def command(args: argparse.Namespace) -> int:
    """Measure, print and write what was asked for; return the exit code 0.

    Raises:
        UserError: There is no such run or checkpoint, an argument is wrong, or a file cannot be written.
    """
    _refuse_wrong(args)
    import_from_here()
    with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
        folder, line = _measured(args)
    if args.json:
        say(json.dumps({"run": str(folder)} | line, indent=2), verbatim=True)
    else:
        _print(folder, line)
    if args.csv is not None:
        _write(args.csv, _as_csv(folder, line))
    if args.figure is not None:
        _write(args.figure, _drawn(folder, line))
    return 0


def _refuse_wrong(args: argparse.Namespace) -> None:
    """Raise ConfigError for arguments that are wrong whatever the run is."""
    if args.batches < FEWEST:
        raise ConfigError(f"--batches {args.batches}: at least {FEWEST}, to say how the cosine varies")
    for flag, file in (("--csv", args.csv), ("--figure", args.figure)):
        if file is not None and not file.absolute().parent.is_dir():
            raise ConfigError(f"{flag} {file}: there is no folder {file.parent}; make it, or name another")
        if file is not None and file.is_dir():
            raise ConfigError(f"{flag} {file}: is a folder; name a file in it")


def _measured(args: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    from rbp.cli.changed_config import changed, shown
    from rbp.provenance.code import why_stale
    from rbp.sweep.grid.cell import Cell
    from rbp.sweep.preflight.places import check_device
    from rbp.train.alignment.checkpoint import align
    from rbp.train.load import check_run

    overrides = [word for word in args.words if "=" in word and not Path(word).exists()]
    paths = [word for word in args.words if word not in overrides]
    if len(paths) != 1:
        raise ConfigError(f"{' '.join(args.words)}: name one run's folder, such as runs/SWEEP/RUN")
    folder = check_run(Path(paths[0]).expanduser())
    before = read_frozen(folder)
    values, changes = changed(before, overrides)
    segments = _segments(args.segments, values["T"])
    file = choose_checkpoint(RunFolder(folder).checkpoints, before["trainer"], args.weights)
    cfg = Cell(values | {"eval_only": True, "checkpoint": str(file)}).cfg
    check_device(cfg)
    line = align(cfg, segments, args.batches)
    stale = why_stale(read_result(folder) or {})
    notes = [f"changed: {shown(changes)}"] if changes else []
    notes += [f"not the code that trained it: {stale}"] if stale else []
    return folder, line | {"notes": notes}


def _segments(text: str | None, T: int) -> list[int] | None:
    """Return the numbers of `--segments`; raise ConfigError if one is none from 1 to T."""
    if text is None:
        return None
    numbers = [int(word) if word.isascii() and word.isdigit() else 0 for word in text.split(",")]
    if not all(1 <= k <= T for k in numbers):
        raise ConfigError(f"--segments {text}: must be whole numbers from 1 to T={T}, such as 1,2")
    return numbers


def _print(folder: Path, line: dict[str, Any]) -> None:
    """Print a table with a row a layer, and what is not in it."""
    names = [ALL, *layers([line])]
    titles = [NOISE_FLOOR, *(f"{mode} {of}" for mode in line["modes"] for of in ("cosine", "norm"))]
    part = line.get("part", {}).get("batches")
    epoch = f"epoch {line['epoch']}" + (f" + {part} batches" if part else "")
    say(
        f"{folder.absolute().name}: {Path(line['checkpoint']).name}, {epoch}; T={line['T']}, "
        f"{line['batches']} batches of {line['batch_size']} training images"
    )
    numbers = [[_cosine(line, NOISE_FLOOR, of), *_both(line, of)] for of in names]
    Table(["layer"], titles, [[shown_layer(of)] for of in names], numbers).print(Screen(highlight=False))
    say("cosine with BPTT's gradient, ± standard deviation over batches; norm as a share of its norm")
    say("noise floor: cosine between BPTT's gradients of one batch and the next")
    if line["left_out"]:
        say(f"left out, as BPTT's gradient is 0 in truth or there is none: {', '.join(line['left_out'])}")
    if fewer := _fewer(line):
        say(f"of fewer batches, as a gradient is 0 or not finite on the others: {fewer}")
    for note in line["notes"]:
        say(note)
    for mode, reason in line["not_measured"].items():
        say(f"NOT MEASURED {mode}: {reason}")


def _fewer(line: dict[str, Any]) -> str:
    """Return the layers that were compared on some of the batches alone, as text."""
    numbers = {row["layer"]: row["n"] for row in rows(line) if row["mode"] != NOISE_FLOOR}
    return ", ".join(f"{of} ({n})" for of, n in numbers.items() if n < line["batches"])


def _both(line: dict[str, Any], layer: str) -> list[Number]:
    found = []
    for mode in line["modes"]:
        norm = mean_of(line, mode, layer, "norm")
        found += [_cosine(line, mode, layer), Number(MISSING if norm is None else f"{norm:.3f}")]
    return found


def _cosine(line: dict[str, Any], mode: str, layer: str) -> Number:
    mean, std = mean_and_std(line, mode, layer)
    return Number(MISSING if mean is None else f"{mean:.4f}" + ("" if std is None else f" ± {std:.4f}"))


def _as_csv(folder: Path, line: dict[str, Any]) -> str:
    records = [{"run": folder.absolute().name, "T": line["T"], **row} for row in rows(line)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def _drawn(folder: Path, line: dict[str, Any]) -> str:
    from rbp.report.figures.alignment import of_line
    from rbp.report.figures.svg import draw_svg

    return draw_svg(of_line(line, folder.absolute().name))


def _write(file: Path, content: str) -> None:
    try:
        write_bytes(file, content.encode())
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror or error}; name another file") from error
