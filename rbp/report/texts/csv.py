"""The tidy tables as CSV: one header, a row a run or a row an epoch, nothing in a cell that is missing."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from rbp.report.comparison.axes import Axes
from rbp.report.paths import shown_path
from rbp.report.read import Run
from rbp.report.texts.tidy import (
    Record,
    alignment_records,
    epoch_records,
    ordered,
    run_records,
    step_records,
)


def runs_csv(runs: Sequence[Run]) -> str:
    """Return a row for each run, with numbers as in result.json and the keys that decide the result."""
    records = run_records(runs)
    rows = [[*record.values(), shown_path(run.folder)] for run, record in zip(runs, records, strict=True)]
    return _csv([*records[0], "folder"], rows)


def epochs_csv(runs: Sequence[Run], axes: Axes) -> str:
    """Return a row for each epoch of each run: what tells the run apart, and the numbers of metrics.jsonl."""
    found = list(epoch_records(runs, axes))
    keys = list(dict.fromkeys(key for told, _ in found for key in told))  # some have keys of their own
    numbers = ordered(list(dict.fromkeys(key for _, lines in found for line in lines for key in line)))
    text = [_csv([*keys, *numbers], [])]
    for told, lines in found:
        start = _csv([told.get(key) for key in keys], []).rstrip(
            "\n"
        )  # once a run: there may be very many rows
        for line in lines:
            text.append(f"{start},{','.join([repr(line[key]) if key in line else '' for key in numbers])}\n")
    return "".join(text)


def steps_csv(runs: Sequence[Run]) -> str:
    """Return a row for each time step of each run's network; "" if no run knows them."""
    return _of_records(step_records(runs))


def alignment_csv(runs: Sequence[Run]) -> str:
    """Return a row for each epoch, mode and layer of which the alignment was measured; "" if none was."""
    return _of_records(alignment_records(runs))


def _of_records(records: Sequence[Record]) -> str:
    columns = list(dict.fromkeys(key for record in records for key in record))
    return _csv(columns, [[record.get(key) for key in columns] for record in records]) if records else ""


def _csv(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([[_no_formula(value) for value in row] for row in (header, *rows)])
    return stream.getvalue()


def _no_formula(value: Any) -> Any:
    """Prefix text that a spreadsheet would evaluate with an apostrophe."""
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )
