"""The benchmark's figure: time and memory over T, a line per contestant."""

from itertools import cycle
from pathlib import Path
from typing import Any

from rbp.bench.contestants import RATE, segments_of
from rbp.report.figures.style import KNOWN

# The gradient modes have the report's colours; these are beside them, from the palette of Okabe and Ito.
COLOURS = {
    "relu": "#999999",
    "relu compiled": "#000000",
    "bptt + memopt": "#E69F00",
    "rate compiled": "#56B4E9",
    "rate compiled + graph": "#009E73",
}
OTHERS = ("#CC79A7", "#117733", "#882255", "#44AA99", "#DDCC77")


def colour(contestant: str) -> str | None:
    """Return the colour of a contestant: that of its gradient mode in a report; None if it has none."""
    k = segments_of(contestant)
    mode = contestant if k == 1 else f"{RATE} segments={k}"
    return KNOWN[mode].colour if mode in KNOWN else COLOURS.get(contestant)


def draw(record: dict[str, Any], file: Path) -> None:
    """Plot all contestants of a benchmark record and write the figure as SVG.

    Args:
        record: The content of the benchmark's JSON file (see rbp.bench.run).
        file: The SVG file to write.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # needs no display and has no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    FigureCanvasSVG(figure)
    time, memory = figure.subplots(1, 2)
    others = cycle(OTHERS)
    for name in dict.fromkeys(row["contestant"] for row in record["rows"]):
        rows = [row for row in record["rows"] if row["contestant"] == name]
        look = {"color": colour(name) or next(others), "label": name}
        compared = [row for row in rows if row["times_relu"] is not None]
        time.plot([row["T"] for row in compared], [row["times_relu"] for row in compared], "o-", **look)
        memory.plot([row["T"] for row in rows], [row["kept_bytes"] / 2**20 for row in rows], "o-", **look)
    steps = sorted({row["T"] for row in record["rows"]})
    time.plot(steps, [(t + 2) / 3 for t in steps], "k:", label="floor (T+2)/3")
    time.set(xlabel="T", xticks=steps, ylabel="time of a step, ReLU network = 1", ylim=(0, None))
    memory.set(xlabel="T", xticks=steps, ylabel="kept for backward (MiB)", ylim=(0, None))
    time.legend(frameon=False, fontsize="small")
    figure.suptitle(
        f"{record['arch']}, batch {record['batch']}, step mode {record['step_mode']}, "
        f"{record['machine']['precision']}: {record['machine']['device']}",
        fontsize="medium",
    )
    figure.savefig(file)
