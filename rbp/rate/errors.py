"""What can be wrong with a call of the rate engine; the launcher prints these as one message."""

from rbp.errors import UserError


class InputError(UserError, ValueError):
    """An argument of `rbp.forward` that cannot be used: a mode, an input's shape, a network's wrapper."""


class NoRuleError(UserError, NotImplementedError):
    """Rate mode met a layer, a neuron or an operation that it cannot carry a rate through."""

    path: str | None = None  # of the module, once it is known
