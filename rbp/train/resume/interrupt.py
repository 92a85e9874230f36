"""A wish to stop, that anyone may utter at any instant; training hears it between two steps."""


class Interruption:
    """Handed to `rbp.train.train`. `request` does no more than leave a note: a signal handler may call it."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def request(self, reason: str) -> None:
        """Ask for a stop at the next step boundary; reason (a signal's name) is told in the run's log."""
        self.reason = self.reason or reason
