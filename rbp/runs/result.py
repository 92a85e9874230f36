"""Read result.json, the result of a run. It is written last: a run is done if and only if it exists."""

from pathlib import Path
from typing import Any

from rbp.config.text import duration
from rbp.files import is_number, read_json
from rbp.runs.folder import RunFolder

# Keys that result.json must have; a file without one of these does not count as a result.
_NUMBERS = ("params", "epochs", "train_loss", "test_acc", "best_test_acc", "seconds")
RESULT_KEYS = ("name", "config", *_NUMBERS)
_NUMBERS_OR_NULL = (
    "seconds_per_epoch",
    "step_seconds",
    "images_per_second",
    "peak_memory_bytes",
    "firing_rate",
)


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return the result of a finished run, or None if it is missing, incomplete or that of another run."""
    result = read_json(RunFolder(folder).result)
    whole = (
        isinstance(result, dict)
        and result.get("name") == folder.absolute().name
        and isinstance(result.get("config"), dict)
        and all(is_number(result.get(key)) for key in _NUMBERS)
        and all(result.get(key) is None or is_number(result[key]) for key in _NUMBERS_OR_NULL)
    )
    return result if whole else None


def code_of(result: dict[str, Any]) -> str | None:
    """Return the hash of the code that computed a result, or None if the result does not record it."""
    code = result.get("code")
    code_hash = code.get("hash") if isinstance(code, dict) else None
    return code_hash if isinstance(code_hash, str) and code_hash.isalnum() else None


def in_short(result: dict[str, Any]) -> str:
    """Return a result as a line: last and best test accuracy, the time, and whether it stopped early."""
    accuracies = [f"test acc {100 * result['test_acc']:.2f}%", f"best {100 * result['best_test_acc']:.2f}%"]
    parts = [*accuracies, duration(result["seconds"])]
    if result.get("stopped_early"):
        parts.append(f"stopped early after epoch {result['epochs']}")
    return "  ".join(parts)
