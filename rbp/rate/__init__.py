"""Rate-based backpropagation (Yu et al., NeurIPS 2024, arXiv 2410.11488) for networks of SpikingJelly neurons.

Usable alone: `rbp.rate.forward(net, x_seq).mean().backward()`.
"""

from rbp.rate.forward import forward
from rbp.rate.pair import NoRuleError, Pair
from rbp.rate.rules import Rule, Trace, register

__all__ = ["NoRuleError", "Pair", "Rule", "Trace", "forward", "register"]
