"""What a check found."""

from dataclasses import dataclass

# slow: it ran past its limit. absent: this machine does not have what is checked, which may be all right.
STATUSES = ("ok", "slow", "wrong", "absent")


@dataclass(frozen=True)
class Finding:
    """status: one of STATUSES; told: what was found, in a line; advice: what to do, "" where nothing is."""

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
