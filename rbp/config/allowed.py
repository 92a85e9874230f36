"""Describe which values a key may have, each as a phrase for the user and as a check."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LARGEST = 1e38  # largest magnitude allowed for a number: just below float32's maximum of 3.4e38
MOST_THREADS = 1024


@dataclass(frozen=True)
class Allowed:
    """A condition on a value.

    Attributes:
        words: The condition in words, to follow "must be" in a message.
        holds: Whether a value fulfils the condition.
    """

    words: str
    holds: Callable[[Any], bool]


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that fits into a float32; booleans do not count."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; booleans do not count."""
    return isinstance(value, int) and not isinstance(value, bool)


def at_least(low: int) -> Allowed:
    """Allow whole numbers from `low`."""
    return Allowed(f"a whole number, {low} or more", lambda v: is_whole(v) and v >= low)


def between(low: int, high: int) -> Allowed:
    """Allow whole numbers from `low` to `high`, both included."""
    return Allowed(f"a whole number from {low} to {high}", lambda v: is_whole(v) and low <= v <= high)


def above(low: float) -> Allowed:
    """Allow finite numbers greater than `low`."""
    return Allowed(f"a finite number above {low}", lambda v: is_number(v) and v > low)


def one_of(*options: str) -> Allowed:
    """Allow the given strings."""
    return Allowed("one of " + ", ".join(options), lambda v: v in options)


def or_null(allowed: Allowed, meaning: str = "") -> Allowed:
    """Allow null in addition to the values of another condition.

    Args:
        allowed: The condition for values other than null.
        meaning: What null stands for, in words.
    """
    null = f"null ({meaning})" if meaning else "null"
    return Allowed(f"{null} or {allowed.words}", lambda v: v is None or allowed.holds(v))


def _is_name(value: Any) -> bool:
    return value is not None and re.fullmatch(r"[\w-][\w.-]*", str(value)) is not None


def _is_short_name(value: Any) -> bool:
    return _is_name(value) and len(str(value)) <= 128


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


NOT_NEGATIVE = Allowed("a finite number, 0 or more", lambda v: is_number(v) and v >= 0)
NUMBER = Allowed("a finite number", is_number)
SHARE = Allowed("a number from 0 to below 1", lambda v: is_number(v) and 0 <= v < 1)
SHARE_OF_AREA = Allowed("a number above 0, at most 1", lambda v: is_number(v) and 0 < v <= 1)
PER_CENT = Allowed("a number from 0 to 100", lambda v: is_number(v) and 0 <= v <= 100)
YES_NO = Allowed("true or false", lambda v: isinstance(v, bool))
BETAS = Allowed(
    "two numbers from 0 to below 1, such as [0.9,0.999]",
    lambda v: isinstance(v, list) and len(v) == 2 and all(map(SHARE.holds, v)),
)
MEANS = Allowed(
    "a list of finite numbers, one per channel",
    lambda v: isinstance(v, list) and all(map(is_number, v)),
)
DEVIATIONS = Allowed(
    "a list of finite numbers, 1e-6 or more, one per channel",
    lambda v: isinstance(v, list) and all(is_number(s) and s >= 1e-6 for s in v),
)
DEVICE = Allowed(
    "auto, cpu, cuda or one GPU by its number such as cuda:1",
    lambda v: re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(v)) is not None,
)
NAME = Allowed("a name of letters, digits and . _ - (not first: .), since folders are named by it", _is_name)
SHORT_NAME = Allowed("a name of at most 128 letters, digits and . _ - (not first: .)", _is_short_name)
FOLDER_NAME = Allowed("a folder name of at most 128 letters, digits and . _ - (not first: .)", _is_short_name)
TAGS = Allowed(
    "a list of texts of 1 to 64 characters each",  # wandb's limits
    lambda v: isinstance(v, list) and all(isinstance(tag, str) and 1 <= len(tag) <= 64 for tag in v),
)
FOLDER = Allowed("the path of a folder", _is_path)
CHECKPOINT = Allowed("the path of a checkpoint", lambda v: isinstance(v, str) and bool(v))
FUNCTION = Allowed(
    "the name of a function, such as package.module.function",
    lambda v: isinstance(v, str) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", v) is not None,
)
SEGMENTS = Allowed("a whole number from 1 to T, or T", lambda v: v == "T" or (is_whole(v) and v >= 1))
LINES = Allowed("a list of texts", lambda v: isinstance(v, list) and all(isinstance(line, str) for line in v))
LIST = Allowed("a list", lambda v: isinstance(v, list))
