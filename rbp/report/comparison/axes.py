"""Decide what a report compares: the key whose values stand side by side, and the one on the x axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rbp.errors import UserError
from rbp.report.comparison.settings import (
    METHOD,
    NOTHING,
    SEED,
    T,
    Unfold,
    as_text,
    differing,
    full,
    is_number,
    settings,
    shown,
    text_of,
    unfolded,
)
from rbp.report.read import MISSING, Run

_Settings = Sequence[Mapping[str, Any]]  # of each run


@dataclass(frozen=True)
class Axes:
    """What stands where in a report.

    Attributes:
        compare: The key whose values are compared with each other.
        base: The value of `compare` that the others are compared with, as text.
        x: The key on the x axis; None if no number differs.
        facets: The further keys in which runs differ; runs are compared only where all of these are equal.
        beside: Keys that differ together with `compare`, such as a learning rate tuned for each method or the
            keys of the neurons that are compared. They are shown, and keep no runs apart.
        unfold: Keys of the gradient mode that are keys of their own here, with the modes that have them.
    """

    compare: str
    base: str
    x: str | None
    facets: tuple[str, ...]
    beside: tuple[str, ...] = ()
    unfold: Unfold = field(default_factory=lambda: NOTHING)


def choose_axes(
    runs: Sequence[Run], compare: str | None = None, base: str | None = None, x: str | None = None
) -> Axes:
    """Choose what to compare by what differs between the runs.

    Compared is the gradient mode where it differs, else the first option or key that does. On the x axis is
    T, else the number with the most values.

    Args:
        runs: The runs.
        compare: The key to compare by, as on the command line.
        base: The value of it that the others are compared with.
        x: The key on the x axis.

    Raises:
        UserError: A key does not differ between these runs, is no number, or has no such value.
    """
    compare = METHOD if compare == f"{METHOD}.name" else compare
    unfold = {key: modes for key in (compare, x) if key and (modes := unfolded(runs, key))}
    keys = differing(runs, unfold)
    found = [settings(run, unfold) for run in runs]
    values = {key: _values(found, key) for key in keys if key != MISSING}
    chosen_x = _asked("--x", x, list(values)) if x else None
    if chosen_x and not all(map(is_number, values[chosen_x])):
        raise UserError(f"--x {x}: must be a key with numbers; {_some(_numeric(values)) or 'no key'} is one")
    if compare and compare != METHOD:  # which every run has: without others a single line over the x axis
        compare = _asked("--compare", compare, list(values))
    by = compare or _compare(found, values, chosen_x)
    rest = [key for key in keys if key != by]
    beside = _beside(found, [key for key in rest if key != chosen_x], by, chosen_x)
    along = chosen_x or _along(found, values, by, beside)
    facets = tuple(key for key in rest if key not in beside and key != along)
    return Axes(by, _base(base, by, _values(found, by)), along, facets, beside, unfold)


def _asked(flag: str, key: str, keys: Sequence[str]) -> str:
    if (found := full(key, keys)) is not None:
        return found
    if key == SEED:
        raise UserError(f"{flag} {key}: seeds are pooled; other keys that differ: {_some(keys) or 'none'}")
    others = f"{_some(keys) or 'no key'} {'do' if len(keys) > 1 else 'does'}"
    raise UserError(f"{flag} {key}: does not differ between these runs; {others}")


def _some(keys: Sequence[str]) -> str:
    return ", ".join(map(shown, keys))


def _values(found: _Settings, key: str) -> list[Any]:
    """Return the distinct values of a key: numbers by size, others by their text."""
    values = list(dict.fromkeys(of[key] for of in found if key in of))
    return sorted(values) if all(map(is_number, values)) else sorted(values, key=as_text)


def _numeric(values: dict[str, list[Any]]) -> list[str]:
    return [key for key, found in values.items() if len(found) > 1 and all(map(is_number, found))]


def _compare(found: _Settings, values: dict[str, list[Any]], x: str | None) -> str:
    if METHOD in values or not values:
        return METHOD
    along = x or _along(found, values, None)
    others = [key for key in values if key != along]
    return next((key for key in others if key not in _numeric(values)), next(iter(others), along or METHOD))


def _along(
    found: _Settings, values: dict[str, list[Any]], compare: str | None, beside: Sequence[str] = ()
) -> str | None:
    """Return the key for the x axis; the compared key only if no other number differs."""
    numeric = [key for key in _numeric(values) if key != compare and key not in beside]
    if T in numeric:
        return T
    swept = [key for key in numeric if _varies_alone(found, key, values)]
    if not swept and (compare is None or not _is_option(compare)):
        swept = numeric
    of_most = max(swept, key=lambda key: len(values[key]), default=None)
    return of_most or (compare if compare in _numeric(values) else None)


def _varies_alone(found: _Settings, key: str, keys: Mapping[str, Any]) -> bool:
    """Whether some runs differ in a key and in no other."""
    by_rest: dict[tuple[str, ...], set[str]] = {}
    for values in found:
        rest = tuple(text_of(values, other) for other in keys if other != key)
        by_rest.setdefault(rest, set()).add(text_of(values, key))
    return any(len(texts) > 1 for texts in by_rest.values())


def _is_option(key: str) -> bool:
    return key == METHOD or key.endswith(".name")


def _base(base: str | None, compare: str, values: Sequence[Any]) -> str:
    texts = [as_text(value) for value in values]
    if base is None:
        return "bptt" if "bptt" in texts else texts[0]
    asked = (base, f"'{base}'")  # a shell takes quotes away
    if (found := next((written for written in asked if written in texts), None)) is None:
        raise UserError(f"--base {base}: no value of {shown(compare)} here; it has {', '.join(texts)}")
    return found


def _beside(found: _Settings, keys: Sequence[str], compare: str, x: str | None) -> tuple[str, ...]:
    """Return the keys that have one value wherever all else but these and the seed is equal.

    Only keys of the optimizer and of the compared option's own group can be such: if they kept runs apart,
    methods with a learning rate each, or neurons with other keys, could never be compared. Where no option is
    compared but a number, nothing else may change with it unseen.
    """
    if not _is_option(compare):
        return ()
    own = f"{compare.removesuffix('.name')}." if compare != METHOD else "optimizer."
    tuned = [key for key in keys if key.startswith(("optimizer.", own)) and key != "optimizer.name"]
    rest = [key for key in (*keys, compare, T, x) if key is not None and key not in tuned]
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for values in found:
        groups.setdefault(tuple(text_of(values, key) for key in rest), []).append(values)
    return tuple(
        key for key in tuned if all(len({text_of(v, key) for v in of}) == 1 for of in groups.values())
    )
