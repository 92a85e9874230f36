"""Rate-based backpropagation (Yu et al., NeurIPS 2024, arXiv 2410.11488) for SpikingJelly networks.

Usable alone: `rbp.rate.forward(net, x_seq).mean().backward()`. `rbp.rate.verify(net, x)` tells whether it is
right about a network of one's own.

What trains in rate mode, with torch's layers and SpikingJelly's wrappers of them alike:
- exactly (the time mean commutes): Conv1d/2d/3d and their transposes, Linear, average and adaptive average
  pooling, Dropout, Flatten, Identity, padding, Upsample, PixelShuffle; sums, cat, reshapes, slices, products
  with what is constant in time, in the network's own forward;
- by the method: BatchNorm1d/2d/3d (rbp.rate.rules.batchnorm), SyncBatchNorm (rbp.rate.rules.sync_batchnorm);
- with the exact rate and a gradient whose distance from BPTT's is documented: MaxPool1d/2d/3d and
  AdaptiveMaxPool1d/2d/3d (rbp.rate.rules.pooling, window_pooling), GroupNorm, LayerNorm
  (rbp.rate.rules.norms), products of two spiking tensors such as attention's (rbp.rate.dispatch.tables);
- neurons: see rbp.rate.neurons.supported;
- anything else by a rule of one's own: see rbp.rate.rules.base.
"""

from rbp.rate.api import forward
from rbp.rate.dispatch.pair import Pair
from rbp.rate.distributed import data_parallel
from rbp.rate.errors import InputError, NoRuleError
from rbp.rate.memory.traces import TimeMean, Trace
from rbp.rate.neurons.elementwise import ElementwiseNeuron
from rbp.rate.registry import register
from rbp.rate.rules.base import Exact, Rule
from rbp.rate.rules.commuting import CommutingRule
from rbp.rate.verify import Verification, verify

__all__ = [
    "CommutingRule",
    "ElementwiseNeuron",
    "Exact",
    "InputError",
    "NoRuleError",
    "Pair",
    "Rule",
    "TimeMean",
    "Trace",
    "Verification",
    "data_parallel",
    "forward",
    "register",
    "verify",
]
