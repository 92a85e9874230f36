"""Rate-based backpropagation (Yu et al., NeurIPS 2024, arXiv 2410.11488) for SpikingJelly networks.

The engine works in any training loop: `rbp.rate.forward(net, x_seq).mean().backward()`.
`rbp.rate.verify(net, x)` checks that it handles a given network correctly.

Supported in rate mode, both as torch layers and as SpikingJelly's wrappers of them:
- exact, because the layer commutes with the time mean: Conv1d/2d/3d and their transposes, Linear, average and
  adaptive average pooling, Dropout, Flatten, Identity, padding, Upsample, PixelShuffle; in the network's own
  forward: sums, cat, reshapes, slices, and products with tensors that are constant in time;
- by the method of the paper: BatchNorm1d/2d/3d (rbp.rate.rules.batchnorm), SyncBatchNorm
  (rbp.rate.rules.sync_batchnorm);
- with the exact rate and an approximate gradient, whose distance from BPTT's is documented: MaxPool1d/2d/3d
  and AdaptiveMaxPool1d/2d/3d (rbp.rate.rules.pooling, window_pooling), GroupNorm, LayerNorm
  (rbp.rate.rules.norms), products of two spiking tensors such as in attention (rbp.rate.dispatch.tables);
- neurons: see rbp.rate.neurons.supported;
- anything else through a user-defined rule: see rbp.rate.rules.base.

Where to read what:
    eligibility of a neuron, dr/dc        neurons/scan.py (one scan over time), neurons/eligibility.py (graph)
    surrogate derivatives                 neurons/surrogates.py
    convolution and linear layers         rules/weighted.py; other layers that commute: rules/commuting.py
    batch normalisation                   rules/batchnorm.py
    a pass in step mode m, and in mode s  passes/rate.py; BPTT: passes/bptt.py
    what a torch function does to a pair  dispatch/tables.py (which functions), dispatch/apply.py (how)
    the network and its time axis         network/ (modules, what they keep), layout/ (TB, BT, static, step)
    whether its steps depend on another   dry_run/state_between_steps.py
    segments of time, the dial            memory/segments.py, neurons/segments.py, rules/segmented_norm.py
    everything that saves time or memory  memory/, neurons/compiled.py
    which layer has which rule            registry.py
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
