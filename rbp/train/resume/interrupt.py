"""Stop requests, which training checks between two steps."""


class Interruption:
    """A stop request; safe to set from a signal handler.

    Attributes:
        reason: Why a stop was requested, or None if none was.
    """

    def __init__(self) -> None:
        self.reason: str | None = None

    def request(self, reason: str) -> None:
        """Request a stop at the next step boundary.

        Args:
            reason: Why, such as a signal's name; written to the run's log. The first reason is kept.
        """
        self.reason = self.reason or reason
