"""Errors raised by the rate engine. The launcher prints them as one message, without a stack trace."""

from rbp.errors import UserError


class InputError(UserError, ValueError):
    """Raised for an invalid argument: an unknown mode, a wrong input shape, a DataParallel network."""


class NoStepsError(InputError):
    """Raised if the output of every step is asked of a network that takes the time mean itself."""


class NoRuleError(UserError, NotImplementedError):
    """Raised if rate mode cannot carry a rate through a layer, neuron or operation.

    Attributes:
        path: Path of the module in the network, once it is known.
    """

    path: str | None = None
