"""Time and memory of a step over T: the table of docs/costs.md."""

from docs.pictures.schemes import FOLDER, write_figures
from rbp.report.figures.figure import Axis, Figure, Series

LABELS = {"relu": "ReLU network", "bptt": "BPTT", "rate": "Rate-BP"}
OF = "ResNet-18, batch 16, float32, two cores of an AMD EPYC"


def make() -> None:
    """Draw the figure."""
    rows = table()
    time = Figure(
        "time",
        "Time of a training step",
        Axis("T (time steps)", at_values=True),
        Axis("time (of the ReLU network's step)", zero=True),
        "",
        [_series(rows, mode, 1) for mode in LABELS] + [_floor(rows)],
        OF,
    )
    memory = Figure(
        "memory",
        "Kept for the backward pass",
        Axis("T (time steps)", at_values=True),
        Axis("memory (MiB)", zero=True),
        "",
        [_series(rows, mode, 4) for mode in LABELS],
        OF,
    )
    write_figures("costs", [time, memory])


def table() -> list[list[str]]:
    """Return the rows of the page's table: T, who, and the numbers."""
    page = (FOLDER.parent / "costs.md").read_text("utf-8")
    lines = [
        line for line in page.splitlines() if line.startswith("| ") and line.split("|")[1].strip().isdigit()
    ]
    return [[cell.strip().replace(",", "") for cell in line.strip("|").split("|")] for line in lines]


def _series(rows: list[list[str]], mode: str, column: int) -> Series:
    """Return a line: column 0 is ms a step, 1 times ReLU, 2 times floor, 3 times BPTT, 4 MiB."""
    found = [(int(row[0]), float(row[2 + column])) for row in rows if row[1] == mode]
    return Series(mode, LABELS[mode], "mean", [T for T, _ in found], [value for _, value in found])


def _floor(rows: list[list[str]]) -> Series:
    steps = sorted({int(row[0]) for row in rows})
    return Series("floor", "Rate-BP's floor, (T+2)/3", "mean", steps, [(T + 2) / 3 for T in steps])
