"""Print the composed config of a run as a short tree before it starts."""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from rbp.config.key import defaults
from rbp.config.schema import GradMode
from rbp.config.text import text
from rbp.terminal.output import Screen

# Keys not shown: names of functions, the recipe (its values appear under trainer and optimizer), and about.
_LEFT_OUT = {"_target_", "recipe", "about"}
_AXES = ("T", "step_mode", "grad_mode", "seed")


def print_tree(cfg: DictConfig, console: Console | None = None) -> None:
    """Print a line with T, step_mode, grad_mode and seed, then one entry per group, wrapped to the terminal.

    A group's entry shows the chosen option and its keys.
    """
    console = console or Screen(highlight=False)
    for line in tree(cfg, console.width if console.is_terminal else 0):
        console.print(line, markup=False, soft_wrap=True)


def tree(cfg: DictConfig, width: int = 0) -> list[str]:
    """Return the lines that `print_tree` prints.

    Args:
        cfg: The config.
        width: Characters per line; 0 does not wrap.
    """
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    groups = {key: value for key, value in values.items() if isinstance(value, dict) and key not in _AXES}
    lines = ["config   " + "  ".join(f"{key}={_axis(values[key])}" for key in _AXES)]
    for number, (group, keys) in enumerate(groups.items(), 1):
        last = number == len(groups)
        words = [_shown(key, value) for key, value in keys.items() if key not in {*_LEFT_OUT, "name"}]
        start = f"{'└' if last else '├'}─ {group}={text(keys.get('name'))}"
        lines += _wrapped(start, "   " if last else "│  ", [word for word in words if word], width)
    return lines


def _axis(value: Any) -> str:
    """Return a plain value as text, or an option's name with its keys that differ from the defaults."""
    if not isinstance(value, dict):
        return str(value)
    usual = defaults(GradMode)
    others = [f"{key}={text(v)}" for key, v in value.items() if key in usual and v != usual[key]]
    return " ".join([value["name"], *others])


def _wrapped(start: str, margin: str, words: list[str], width: int) -> list[str]:
    lines, room = [start], width - len(margin) - 2
    pieces = [
        piece for word in words for piece in (word.split(" ") if width and len(word) > room else [word])
    ]
    for word in pieces:
        if width and len(lines[-1]) + 2 + len(word) > width:
            lines.append(margin + "  " + word)
        else:
            lines[-1] += "  " + word
    return lines


def _shown(key: str, value: Any) -> str:
    if isinstance(value, dict):
        inner = " ".join(_shown(k, v) for k, v in value.items())
        return f"{key}({inner})"
    return f"{key}={text(value)}"
