"""Rate-based backpropagation (Yu et al., NeurIPS 2024, arXiv 2410.11488) for SpikingJelly networks.

Usable alone: `rbp.rate.forward(net, x_seq).mean().backward()`. `rbp.rate.verify(net, x)` tells whether it is
right about a network of one's own.

What trains in rate mode, with torch's layers and SpikingJelly's wrappers of them alike:
- exactly (the time mean commutes): Conv1d/2d/3d and their transposes, Linear, average and adaptive average
  pooling, Dropout, Flatten, Identity, padding, Upsample, PixelShuffle; sums, cat, reshapes, slices, products
  with what is constant in time, in the network's own forward;
- by the method: BatchNorm1d/2d/3d, SyncBatchNorm (rbp.rate.batchnorm, rbp.rate.sync_batchnorm);
- with the exact rate and a gradient whose distance from BPTT's is documented: MaxPool1d/2d
  (rbp.rate.pooling), GroupNorm, LayerNorm (rbp.rate.norms), products of two spiking tensors such as
  attention's (rbp.rate.functions);
- neurons: see rbp.rate.supported;
- anything else by a rule of one's own: see rbp.rate.rules.
"""

# These register their rules.
from rbp.rate import batchnorm, linear, neurons, norms, pooling, supported, sync_batchnorm  # noqa: F401
from rbp.rate.distributed import data_parallel
from rbp.rate.elementwise import ElementwiseNeuron
from rbp.rate.errors import InputError, NoRuleError
from rbp.rate.forward import forward
from rbp.rate.linear import CommutingRule
from rbp.rate.pair import Pair
from rbp.rate.rules import Exact, Rule, register
from rbp.rate.traces import Trace
from rbp.rate.verify import Verification, verify

__all__ = [
    "CommutingRule",
    "ElementwiseNeuron",
    "Exact",
    "InputError",
    "NoRuleError",
    "Pair",
    "Rule",
    "Trace",
    "Verification",
    "data_parallel",
    "forward",
    "register",
    "verify",
]
