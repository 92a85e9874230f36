"""Tell failures: a line for all that failed for the same reason, however many they are."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "no reason is known"
_COLOUR = re.compile(r"\x1b\[[\d;]*[A-Za-z]")  # as some libraries have in their messages


@dataclass(frozen=True)
class Failure:
    """A cell that failed.

    Attributes:
        label: What tells it from the other cells.
        state: Its state, such as failed or lost.
        reason: Why.
        name: The name of its run, left out when reasons are compared.
        folder: The run's folder; None if that does not tell more.
    """

    label: str
    state: str
    reason: str
    name: str
    folder: Path | None = None

    @property
    def kind(self) -> tuple[str, str]:
        """What is equal for failures of the same kind: numbers and the run's own name may differ."""
        return self.state, re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "0", self.reason.replace(self.name, ""))


def failure_lines(failures: Iterable[Failure]) -> list[str]:
    """Return a line for every reason, with the number of cells and where the first of them tells more."""
    kinds: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        kinds.setdefault(failure.kind, []).append(failure)
    return [_line(alike) for alike in kinds.values()]


def _line(alike: list[Failure]) -> str:
    first, number = alike[0], len(alike)
    others = "the others with other numbers or names" if len({one.reason for one in alike}) > 1 else ""
    logs = f": rbp logs {first.folder}" if first.folder else ""  # at the end, to be copied
    which = "; ".join(filter(None, [first.label if number == 1 else f"first: {first.label}", others]))
    plain = _COLOUR.sub("", first.reason)
    reason = "; ".join(line.strip() for line in plain.splitlines() if line.strip())
    return f"{number} {'cell' if number == 1 else 'cells'} {first.state}: {reason} ({which}){logs}"
