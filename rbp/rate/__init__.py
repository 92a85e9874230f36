"""Rate-based backpropagation (Yu et al., NeurIPS 2024, arXiv 2410.11488) for SpikingJelly networks.

Usable alone: `rbp.rate.forward(net, x_seq).mean().backward()`.
"""

# These register their rules.
from rbp.rate import batchnorm, linear, neurons, norms, pooling, supported  # noqa: F401
from rbp.rate.distributed import data_parallel
from rbp.rate.elementwise import ElementwiseNeuron
from rbp.rate.errors import InputError, NoRuleError
from rbp.rate.forward import forward
from rbp.rate.linear import CommutingRule
from rbp.rate.pair import Pair
from rbp.rate.rules import Rule, register
from rbp.rate.traces import Trace

__all__ = [
    "CommutingRule",
    "ElementwiseNeuron",
    "InputError",
    "NoRuleError",
    "Pair",
    "Rule",
    "Trace",
    "data_parallel",
    "forward",
    "register",
]
