"""SpikingJelly's neurons as the group `neuron` describes them: one call makes one layer of neurons."""

from typing import Any

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


def lif(**keys: Any) -> nn.Module:
    """Leaky integrate-and-fire, u[t] = (1 - 1/tau) u'[t-1] + c[t] where the input is not decayed."""
    return neuron.LIFNode(**_with_surrogate(**keys))


def if_(**keys: Any) -> nn.Module:
    """Integrate-and-fire: u[t] = u'[t-1] + c[t]."""
    return neuron.IFNode(**_with_surrogate(**keys))


def plif(**keys: Any) -> nn.Module:
    """Leaky integrate-and-fire with a tau that is learnt, one a layer (Fang et al., ICCV 2021)."""
    return neuron.ParametricLIFNode(**_with_surrogate(**keys))


def _with_surrogate(surrogate: str, alpha: float, **keys: Any) -> dict[str, Any]:
    """SpikingJelly's arguments: the surrogate by name, with its sharpness alpha."""
    return {**keys, "surrogate_function": _SURROGATES[surrogate](alpha=alpha)}
