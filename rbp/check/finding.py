"""What a check found."""

from dataclasses import dataclass

# slow: it ran past its limit. absent: this machine does not have what is checked, which may be all right.
STATUSES = ("ok", "slow", "wrong", "absent")


@dataclass(frozen=True)
class Finding:
    """status: one of STATUSES; told: what was found, in a line; advice: what to do, "" where nothing is."""

    status: str
    told: str
    advice: str = ""
    name: str = ""
    seconds: float = 0.0


def ok(told: str) -> Finding:
    return Finding("ok", told)


def wrong(told: str, advice: str) -> Finding:
    return Finding("wrong", told, advice)


def absent(told: str, advice: str = "") -> Finding:
    return Finding("absent", told, advice)
