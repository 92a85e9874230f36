"""Read alignment.jsonl: how far other modes' gradients are from BPTT's, a line for each epoch measured.

A line has `epoch`, `T`, `batches` and `batch_size`; `modes`, by mode and layer the `cosine` with BPTT's
gradient and the `norm` as a share of its norm; `noise_floor`, by layer the cosine between BPTT's gradients of
one batch and the next; `left_out`, the parameters that count nowhere; and `not_measured`, by mode the reason.
A cosine or norm has `mean` and `std` over batches, and `n` of them; null where there is none. The layer "all"
is all of them together.

rbp.train.alignment.of_run makes a line, and the run's Record (rbp.train.telemetry.record) appends it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rbp.alignment import ALL
from rbp.files import is_number, read_lines

NOISE_FLOOR = "noise floor"  # stands among the modes
_PARTS = {"epoch": int, "T": int, "modes": dict, "noise_floor": dict, "left_out": list, "not_measured": dict}


def read_alignment(file: Path) -> list[dict[str, Any]]:
    """Return the whole lines of alignment.jsonl by epoch; of several of one epoch, the last."""
    found = {line["epoch"]: line for line in read_lines(file) if _is_whole(line)}
    return [found[epoch] for epoch in sorted(found)]


def _is_whole(line: dict[str, Any]) -> bool:
    return all(type(line.get(key)) is kind for key, kind in _PARTS.items())


def mean_of(line: Mapping[str, Any], mode: str, layer: str = ALL, figure: str = "cosine") -> float | None:
    """Return a mean over batches; see mean_and_std."""
    return mean_and_std(line, mode, layer, figure)[0]


def mean_and_std(
    line: Mapping[str, Any], mode: str, layer: str = ALL, figure: str = "cosine"
) -> tuple[float | None, float | None]:
    """Return a mean over batches and their standard deviation; None if not measured, or if there is none.

    Args:
        line: A line of alignment.jsonl.
        mode: The name of a mode, or NOISE_FLOOR.
        layer: The name of a layer, or ALL.
        figure: cosine or norm; of NOISE_FLOOR there is only the cosine.
    """
    found: dict[str, Any] = _of(line, mode).get(layer, {}).get(figure, {})
    mean, std = (found.get(key) for key in ("mean", "std"))
    return float(mean) if is_number(mean) else None, float(std) if is_number(std) else None


def at_common_epochs(
    courses: Iterable[Sequence[Mapping[str, Any]]], mode: str
) -> dict[int, list[Mapping[str, Any]]]:
    """Return the lines of several runs by epoch, of the epochs at which all of them measured a mode.

    Runs may measure at different epochs, as one that stops early. Those that never measured the mode do not
    count.

    Args:
        courses: The lines of each run.
        mode: The name of a mode, or NOISE_FLOOR.
    """
    measured = [{line["epoch"]: line for line in of if mean_of(line, mode) is not None} for of in courses]
    measured = [of for of in measured if of]
    common = set.intersection(*map(set, measured)) if measured else set()
    return {epoch: [of[epoch] for of in measured] for epoch in sorted(common)}


def is_bptt(mode: str, line: Mapping[str, Any]) -> bool:
    """Whether a mode is BPTT itself: as many segments as time steps."""
    return bool(mode == ("rate" if line["T"] == 1 else f"rate segments={line['T']}"))


def layers(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the layers that any of the lines has, from the input on, without ALL."""
    found: list[str] = []
    for line in lines:
        place = 0
        for layer in line["noise_floor"]:
            if layer == ALL:
                continue
            if layer not in found:
                found.insert(place, layer)
            place = found.index(layer) + 1
    return found


def shown_layer(layer: str) -> str:
    """Return the name of a layer as it is shown; the network's own parameters have none."""
    return layer or "(network)"


def rows(line: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a flat record for each mode and layer of a line, and for the noise floor of each layer."""
    for mode in (*line["modes"], NOISE_FLOOR):
        for layer, figures in _of(line, mode).items():
            yield {
                "epoch": line["epoch"],
                "mode": mode,
                "layer": shown_layer(layer),
                **{
                    f"{figure}{end}": figures.get(figure, {}).get(key)
                    for figure in ("cosine", "norm")
                    for key, end in (("mean", ""), ("std", "_std"))
                },
                "n": figures.get("cosine", {}).get("n"),
            }


def _of(line: Mapping[str, Any], mode: str) -> dict[str, Any]:
    """Return the figures of a mode by layer; of the noise floor in the same form."""
    if mode == NOISE_FLOOR:
        return {layer: {"cosine": cosine} for layer, cosine in line["noise_floor"].items()}
    found: dict[str, Any] = line["modes"].get(mode, {})
    return found
