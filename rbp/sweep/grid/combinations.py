"""List the combinations of values in a grid: products, keys that change together, and exclusions."""

import contextlib
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rbp.config.composition.overrides import as_text, override_of
from rbp.config.composition.places import is_group
from rbp.config.dotted import ABSENT, find
from rbp.errors import ConfigError

# One point of a grid: key -> its value, as written in an override on the command line.
Choices = dict[str, str]


def combinations(swept: Mapping[str, Sequence[str]], pairs: Sequence[Any]) -> list[Choices]:
    """Return every combination of values: the product of all swept keys and all pairs.

    The last key or pair changes fastest.

    Args:
        swept: Key -> its values, as written in overrides.
        pairs: Groups of keys that change together, such as {arch: [a, b], trainer.batch_size: [1, 2]}.

    Raises:
        ConfigError: A pair is malformed, or a key occurs more than once.
    """
    rows = [_rows(pair) for pair in pairs]
    counts = Counter(key for pair in rows for key in pair[0])
    if shared := [key for key, count in counts.items() if count > 1]:
        raise ConfigError(f"{', '.join(shared)}: in several pairs; leave it out of all but one")
    if twice := [key for key in swept if any(key in pair[0] for pair in rows)]:
        raise ConfigError(f"{', '.join(twice)}: both in the grid and in pairs; leave it out of one of them")
    axes = [[{key: value} for value in values] for key, values in swept.items()] + rows
    return [
        {key: value for part in parts for key, value in part.items()} for parts in itertools.product(*axes)
    ]


def _rows(pair: Any) -> list[Choices]:
    """Return the combinations that a pair such as {arch: [a, b], trainer.batch_size: [1, 2]} stands for."""
    shown = f"hydra.sweeper.pairs={as_text(pair)}"
    if not _is_pair(pair):
        raise ConfigError(f"{shown}: must be keys with a list of values each, as in {{arch:[a,b],T:[2,4]}}")
    if len(lengths := {len(values) for values in pair.values()}) > 1:
        raise ConfigError(f"{shown}: the lists of a pair must be of one length, not {sorted(lengths)}")
    keys = list(pair)
    rows = zip(*pair.values(), strict=True)
    return [{k: override_of(k, v).partition("=")[2] for k, v in zip(keys, row, strict=True)} for row in rows]


def _is_pair(pair: Any) -> bool:
    named = isinstance(pair, dict) and bool(pair) and all(isinstance(key, str) for key in pair)
    return named and all(isinstance(values, list) and values for values in pair.values())


class Exclusions:
    """Rules such as {grad_mode: bptt, T: [12, 16]}: a cell that matches all keys of a rule is left out.

    Attributes:
        rules: The rules.
        used: For each rule, whether a cell has matched it so far.
    """

    def __init__(self, rules: Sequence[Any]) -> None:
        for rule in rules:
            if not isinstance(rule, dict) or not rule:
                raise ConfigError(
                    f"hydra.sweeper.exclude={as_text(rule)}: must be keys with a value or a list of values "
                    "each, as in {grad_mode:bptt,T:[12,16]}"
                )
        self.rules = list(rules)
        self.used = [False] * len(self.rules)

    def __call__(self, values: Mapping[str, Any]) -> bool:
        """Whether the cell with these resolved values is left out."""
        hits = [_fits(rule, values) for rule in self.rules]
        self.used = [used or hit for used, hit in zip(self.used, hits, strict=True)]
        return any(hits)

    def refuse_unused(self) -> None:
        """Raise ConfigError for a rule that has matched no cell, since it is most likely a typo."""
        for rule, used in zip(self.rules, self.used, strict=True):
            if not used:
                raise ConfigError(
                    f"hydra.sweeper.exclude={as_text(rule)}: fits no cell; see its keys and values"
                )


def may_fit(rule: Any, given: Mapping[str, str]) -> bool:
    """Whether an exclusion rule can still match a cell, given the values on the command line.

    True if the rule is malformed or the values are not plain: the error is reported elsewhere.

    Args:
        rule: The rule: key -> value or list of values.
        given: Key -> its value or values, as typed on the command line.
    """
    if not isinstance(rule, Mapping):
        return True
    shown = {key: _plain_values(given[key]) for key in rule if key in given}
    return all(
        not values or any(_says(value, item) for value in values for item in _as_list(rule[key]))
        for key, values in shown.items()
    )


def _plain_values(text: str) -> list[str]:
    """Return the values in the text of an override such as 1,'2',abc, or none if it is more complex."""
    if re.fullmatch(r"\[[^\[\]{}()]*\]", text):
        return [text.replace(" ", "")]
    return [] if set(text) & set("[{(") else [part.strip().strip("'\"") for part in text.split(",")]


def _says(text: str, value: Any) -> bool:
    """Whether text from the command line means this value from a file."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return float(text) == value
    return text.lower() == as_text(value).strip("'").lower()


def _as_list(wanted: Any) -> list[Any]:
    return wanted if isinstance(wanted, list) else [wanted]


def _fits(rule: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(
        any(_same(_value(values, str(key)), allowed) for allowed in _as_list(wanted))
        for key, wanted in rule.items()
    )


def _value(values: Mapping[str, Any], key: str) -> Any:
    if (found := find(values, key, ABSENT)) is ABSENT:
        raise ConfigError(f"hydra.sweeper.exclude: {key}: no such key")
    return found.get("name") if is_group(key) and isinstance(found, Mapping) else found


def _same(value: Any, wanted: Any) -> bool:
    """Whether two values are equal: numbers by value, anything else as text, ignoring case."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (value, wanted))
    return value == wanted if numbers else str(value).lower() == str(wanted).lower()
