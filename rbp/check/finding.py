"""The result of a check."""

from dataclasses import dataclass

# slow: the check exceeded its time limit. absent: this machine lacks what is checked, which may be fine.
STATUSES = ("ok", "slow", "wrong", "absent")


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        status: One of STATUSES.
        summary: What was found, in one line.
        advice: What to do; "" if nothing.
        name: Name of the check; set by `rbp.check.runner.run`.
        seconds: How long the check took; set by `rbp.check.runner.run`.
    """

    status: str
    summary: str
    advice: str = ""
    name: str = ""
    seconds: float = 0.0


def ok(summary: str) -> Finding:
    return Finding("ok", summary)


def wrong(summary: str, advice: str) -> Finding:
    return Finding("wrong", summary, advice)


def absent(summary: str, advice: str = "") -> Finding:
    return Finding("absent", summary, advice)
