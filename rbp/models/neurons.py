"""SpikingJelly neurons built from config group `neuron`; each call makes one layer of neurons."""

from spikingjelly.activation_based import neuron, surrogate
from torch import nn

_SURROGATES = {
    "sigmoid": surrogate.Sigmoid,
    "atan": surrogate.ATan,
    "piecewise_quadratic": surrogate.PiecewiseQuadratic,
    "piecewise_exp": surrogate.PiecewiseExp,
    "soft_sign": surrogate.SoftSign,
    "super_spike": surrogate.SuperSpike,
    "erf": surrogate.Erf,
}


def lif(
    tau: float,
    decay_input: bool,
    v_threshold: float,
    v_reset: float | None,
    detach_reset: bool,
    surrogate: str,
    alpha: float,
) -> nn.Module:
    """Build leaky integrate-and-fire neurons: u[t] = (1 - 1/tau) u'[t-1] + c[t] if the input is not decayed.

    u is the membrane potential before the spike, u' after the reset, c the input current.
    """
    shape = _SURROGATES[surrogate](alpha=alpha)
    return neuron.LIFNode(float(tau), decay_input, float(v_threshold), v_reset, shape, detach_reset)


def if_(
    v_threshold: float, v_reset: float | None, detach_reset: bool, surrogate: str, alpha: float
) -> nn.Module:
    """Build integrate-and-fire neurons: u[t] = u'[t-1] + c[t]."""
    return neuron.IFNode(float(v_threshold), v_reset, _SURROGATES[surrogate](alpha=alpha), detach_reset)


def plif(
    init_tau: float,
    decay_input: bool,
    v_threshold: float,
    v_reset: float | None,
    detach_reset: bool,
    surrogate: str,
    alpha: float,
) -> nn.Module:
    """Build leaky integrate-and-fire neurons with a learnable tau, one per layer (Fang et al., ICCV 2021)."""
    shape = _SURROGATES[surrogate](alpha=alpha)
    return neuron.ParametricLIFNode(
        float(init_tau), decay_input, float(v_threshold), v_reset, shape, detach_reset
    )
