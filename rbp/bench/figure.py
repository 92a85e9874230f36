"""The benchmark's figure: time and memory over T, a line per contestant."""

from pathlib import Path
from typing import Any

# Okabe and Ito's palette: told apart by the colour-blind, and in grey.
COLOURS = {"relu": "#999999", "bptt": "#D55E00", "bptt + memopt": "#E69F00", "rate": "#0072B2"}


def draw(record: dict[str, Any], file: Path) -> None:
    """Write the figure of a benchmark's record (see rbp.bench.run) as SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # no display, and no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    FigureCanvasSVG(figure)
    time, memory = figure.subplots(1, 2)
    for name, colour in COLOURS.items():
        rows = [row for row in record["rows"] if row["contestant"] == name]
        steps = [row["T"] for row in rows]
        time.plot(steps, [row["times_relu"] for row in rows], "o-", color=colour, label=name)
        memory.plot(steps, [row["kept_bytes"] / 2**20 for row in rows], "o-", color=colour, label=name)
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
