"""Read alignment.jsonl: how far other modes' gradients are from BPTT's, a line for each epoch measured.

A line has `epoch`, `T`, `batches` and `batch_size`; `modes`, by mode and layer the `cosine` with BPTT's
gradient and the `norm` as a share of its norm; `noise_floor`, by layer the cosine between BPTT's gradients of
one batch and the next; `left_out`, the parameters that count nowhere; and `not_measured`, by mode the reason.
A cosine or norm has `mean` and `std` over batches, and `n` of them; null where there is none. The layer "all"
is all of them together.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rbp.files import is_number, read_lines

ALL = "all"
NOISE_FLOOR = "noise floor"  # stands among the modes
_PARTS = {"epoch": int, "T": int, "modes": dict, "noise_floor": dict, "left_out": list, "not_measured": dict}


def read_alignment(file: Path) -> list[dict[str, Any]]:
    """Return the whole lines of alignment.jsonl by epoch; of several of one epoch, the last."""
    found = {line["epoch"]: line for line in read_lines(file) if _is_whole(line)}
    return [found[epoch] for epoch in sorted(found)]


def _is_whole(line: dict[str, Any]) -> bool:
    return all(type(line.get(key)) is kind for key, kind in _PARTS.items())


def mean_of(line: Mapping[str, Any], mode: str, layer: str = ALL, figure: str = "cosine") -> float | None:
    """Return a mean over batches; None if it was not measured or does not exist.

    Args:
        line: A line of alignment.jsonl.
        mode: The name of a mode, or NOISE_FLOOR.
        layer: The name of a layer, or ALL.
        figure: cosine or norm; of NOISE_FLOOR there is only the cosine.
    """
    value: Any = _of(line, mode).get(layer, {}).get(figure, {}).get("mean")
    return float(value) if is_number(value) else None


def is_bptt(mode: str, line: Mapping[str, Any]) -> bool:
    """Whether a mode is BPTT itself: as many segments as time steps."""
    return bool(mode == f"rate segments={line['T']}")


def layers(line: Mapping[str, Any]) -> list[str]:
    """Return the layers of a line, from the input on, without ALL."""
    return [layer for layer in line["noise_floor"] if layer != ALL]


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
