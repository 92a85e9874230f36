"""result.json: what a run came to. It is written last, and a run is done if and only if it is there."""

from pathlib import Path
from typing import Any

from rbp.files import is_number, read_json
from rbp.runs.folder import RunFolder

# What result.json holds at least; a file without one of these is not a result.
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
    """The result of a run that is done; None where there is none, or not a whole one, or another run's."""
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
    """The hash of the code that computed a result, if it is told."""
    code = result.get("code")
    code_hash = code.get("hash") if isinstance(code, dict) else None
    return code_hash if isinstance(code_hash, str) and code_hash.isalnum() else None
