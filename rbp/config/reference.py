"""Generate the documentation of all keys: the lists in `--help`, and docs/config.md.

`python -m rbp.config.reference` prints docs/config.md.
"""

import textwrap
from collections.abc import Iterator

from rbp.config.key import Key, defaults
from rbp.config.key import keys as keys_of
from rbp.config.launchers import GRID_FLAGS, LAUNCHERS, SweeperSettings, full_name
from rbp.config.schema import keys
from rbp.config.text import text

_INTRODUCTION = """\
# Every key

Made from `rbp/config/schema.py` and `rbp/config/launchers.py` by `python -m rbp.config.reference`.

`python launch.py --cfg job` shows the values that a command line comes to; the files in `conf/` hold them.
A key that *decides* is part of what makes a run the run that it is: two runs with another value there are two
runs, in two folders. The others say where and how a run is computed, shown and checked.
"""


def keys_help(width: int = 110) -> str:
    """Return the help text of a run's keys, one entry per key.

    Keys that a user does not set because they come with an option's file (name, _target_) are left out.

    Args:
        width: Characters per line, beyond which an entry is wrapped.
    """
    shown = {name: key for name, key in keys().items() if key.children is None and not _comes_with_file(name)}
    return "\n".join(_help_line(name, key, width) for name, key in shown.items())


def _comes_with_file(name: str) -> bool:
    return name != "sweep.name" and name.endswith((".name", "._target_"))


def launchers_help(width: int = 110) -> str:
    """Return the help text of the launchers' settings, wrapped to `width` characters."""
    lines = []
    for launcher, kind in LAUNCHERS.items():
        lines.append(f"  {launcher}")
        lines += [_help_line(f"  {full_name(kind, name)}", key, width) for name, key in keys_of(kind).items()]
    return "\n".join(lines)


def grid_help(width: int = 110) -> str:
    """Return the help text of a grid's settings, wrapped to `width` characters.

    The settings that the command line takes without the prefix hydra.sweeper come first.
    """
    declared = keys_of(SweeperSettings)
    names = sorted(declared, key=lambda name: name not in GRID_FLAGS)
    return "\n".join(_help_line(full_name(SweeperSettings, name), declared[name], width) for name in names)


def _help_line(name: str, key: Key, width: int) -> str:
    line = f"  {name:<32} {_meaning(key)}"
    return textwrap.fill(line, width, subsequent_indent=" " * 35, break_on_hyphens=False)


def _meaning(key: Key) -> str:
    return f"{key.about} ({key.words})"


def reference() -> str:
    """Return all keys as Markdown: a table per group, then hydra.launcher and hydra.sweeper."""
    parts = [_INTRODUCTION, "## A run\n", _table(_of_group(""))]
    for name, key in keys().items():
        if key.children is not None:
            open_ = " Each option may have keys of its own beside these." if key.open else ""
            parts += [f"## {name}\n", f"{_sentence(key.about)}{open_}\n", _table(_of_group(f"{name}."))]
    for launcher, kind in LAUNCHERS.items():
        parts += [f"## hydra/launcher={launcher}\n", f"{kind.__doc__}\n", _settings(kind)]
    parts += ["## Of a grid\n", f"{SweeperSettings.__doc__}\n", _settings(SweeperSettings)]
    return "\n".join(parts)


def _of_group(prefix: str) -> Iterator[tuple[str, Key]]:
    for name, key in keys().items():
        if name.startswith(prefix) and "." not in name.removeprefix(prefix) and key.children is None:
            yield name, key


def _table(found: Iterator[tuple[str, Key]]) -> str:
    rows = [
        f"| `{name}` | {_cell(key.about)} | {_cell(key.words)} | {'yes' * key.affects_result} | {key.since} |"
        for name, key in found
    ]
    return "\n".join(["| key | meaning | must be | decides | since |", "|---|---|---|---|---|", *rows, ""])


def _settings(kind: type) -> str:
    values = defaults(kind)
    rows = [
        f"| `{full_name(kind, name)}` | {_cell(key.about)} | {_cell(key.words)} | `{text(values[name])}` |"
        for name, key in keys_of(kind).items()
    ]
    return "\n".join(["| key | meaning | must be | default |", "|---|---|---|---|", *rows, ""])


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."


if __name__ == "__main__":
    print(reference(), end="")
