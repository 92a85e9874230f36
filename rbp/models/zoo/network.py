"""A model of SpikingJelly's zoo, checked before it is built."""

from collections.abc import Callable
from typing import Any

from torch import nn

from rbp.errors import ConfigError
from rbp.models.zoo.catalogue import MODELS
from rbp.models.zoo.settings import checked


def spikingjelly(
    neuron: Callable[[], nn.Module],
    in_channels: int,
    classes: int,
    model: str,
    size: int,
    T: int,
    **settings: Any,
) -> nn.Module:
    """Build a model of SpikingJelly's zoo (spikingjelly.activation_based.model).

    Every neuron is the config's, also where the zoo has others by default (the thresholds of attention, the
    surrogate of MS-ResNet). Weights are initialised as the zoo does.

    Args:
        neuron: Makes one layer of neurons, SpikingJelly's own.
        in_channels: Channels of the images.
        classes: Number of classes.
        model: Name in the zoo, a key of `MODELS`.
        size: Side of the images.
        T: Time steps, which some models repeat an image by if they are called with one.
        settings: Arguments of the model in place of its own values; which, depends on the model.

    Returns:
        A network of [B, C, H, W] -> [B, classes] in step mode s, and of [T, B, ...] in m (ResNet, SEW ResNet,
        VGG); or of [T, B, C, H, W] -> [T, B, classes] (Spikformer) or [B, classes] (the others).

    Raises:
        ConfigError: There is no such model or setting, a setting cannot be this, or the images are too small.
    """
    if model not in MODELS:
        raise ConfigError(f"arch.model={model}: must be one of {', '.join(MODELS)}")
    chosen = MODELS[model]
    values = checked(model, chosen.settings, settings)
    smallest = chosen.smallest(values)
    if size < smallest:
        raise ConfigError(
            f"arch.model={model} with dataset.size={size}: the network halves the image too often; "
            f"dataset.size must be at least {smallest}"
        )
    try:
        return chosen.build(
            _of_step_mode(neuron), in_channels=in_channels, classes=classes, size=size, T=T, **values
        )
    except ValueError as error:  # such as widths that the heads of attention do not divide
        shown = ", ".join(f"arch.{key}={value}" for key, value in values.items())
        raise ConfigError(f"arch.model={model} with {shown}: {error}") from error


def _of_step_mode(neuron: Callable[[], nn.Module]) -> Callable[..., nn.Module]:
    """Return what the zoo calls to make a layer of neurons, with the step mode it wants."""

    def make(step_mode: str = "s") -> nn.Module:
        layer: Any = neuron()
        if not hasattr(layer, "step_mode"):
            raise ConfigError(
                f"neuron: a {type(layer).__name__} has no step_mode; SpikingJelly's models need neurons of "
                "SpikingJelly's, such as neuron=lif"
            )
        layer.step_mode = step_mode
        return layer

    return make
