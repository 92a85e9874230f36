"""What the online modes are compared with: each step differentiated by itself, written as a plain loop."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import base, functional
from torch import Tensor, nn

import rbp
import rbp.check
from rbp.check.networks import Net, plain, residual
from tests.support.networks import lif

# Those of `rbp check` travel in the package.
FOLDERS = (Path(__file__).parents[1] / "gradients" / "golden", Path(rbp.check.__file__).parent / "golden")
GOLDEN = {path.stem: path for folder in FOLDERS for path in folder.glob("*.npz")}
GOLDEN = {name: path for name, path in GOLDEN.items() if name.split("-")[6] in ("sltt", "ottt")}
Loss = Callable[[Tensor], Tensor]


def dense() -> Net:
    hidden = [nn.Linear(192, 24), lif(), nn.Linear(24, 16), lif()]
    return Net(nn.Flatten(), *hidden, nn.Linear(16, 5))


NETS: dict[str, Callable[[], Net]] = {"plain": plain, "residual": residual, "dense": dense}


def golden(name: str) -> tuple[Net, dict[str, Tensor], Tensor]:
    """The network of a golden file with its weights and neurons, the file's arrays, and x_seq."""
    arrays = {key: torch.from_numpy(np.asarray(a)) for key, a in np.load(GOLDEN[name]).items()}
    kind, leak, threshold, frames, *_ = name.split("-")
    net = NETS[kind]()
    missing, unexpected = net.load_state_dict(
        {key[6:]: a for key, a in arrays.items() if key.startswith("param/")}, strict=False
    )
    assert not unexpected and all("running" in key or "num_batches" in key for key in missing)
    for module in net.modules():
        if isinstance(module, base.MemoryModule):
            module.tau, module.v_threshold = 1 / (1 - float(leak[3:])), float(threshold[3:])
    x = arrays["x"]
    return net, arrays, x if frames == "frames" else x.expand(int(arrays["T"]), *x.shape)


class Seen:
    """What a layer with weights sees and gets in each step: its inputs, and the gradients of its outputs."""

    def __init__(self, layer: nn.Module) -> None:
        self.inputs: list[Tensor] = []
        self.grads: list[Tensor] = []
        layer.register_forward_hook(self._note)

    def _note(self, _: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> None:
        self.inputs.append(args[0].detach().clone())
        y.register_hook(self.grads.append)


def cut(net: nn.Module) -> None:
    """Cut the state of SpikingJelly's neurons from the graph."""
    for module in net.modules():
        if isinstance(module, base.MemoryModule):
            for name, value in module._memories.items():
                module._memories[name] = value.detach() if isinstance(value, Tensor) else value


def each_step(net: nn.Module, x_seq: Tensor, loss: Loss, steps: Sequence[int] | None = None) -> Tensor:
    """Fill the gradients of SLTT by a plain loop: only of some steps, if they are given; return the loss."""
    functional.reset_net(net)
    functional.set_step_mode(net, "s")
    total = torch.zeros((), dtype=x_seq.dtype)
    for t, x in enumerate(x_seq):
        value = loss(net(x)) / len(x_seq)
        total += value.detach()
        if steps is None or t in steps:
            value.backward()
        cut(net)
    functional.reset_net(net)
    return total


def leaky_sums(inputs: Sequence[Tensor], leak: float | Tensor) -> list[Tensor]:
    """The sums of leak^(t-s) * inputs[s] over s <= t, for every t."""
    return [
        torch.stack([leak ** (t - s) * inputs[s] for s in range(t + 1)]).sum(0) for t in range(len(inputs))
    ]


def weight_gradient(layer: nn.Module, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
    """The sum over the steps of a layer's weight gradient at the given inputs, by autograd."""
    weight: Any = layer.weight
    total = torch.zeros_like(weight)
    for x, grad in zip(inputs, grads, strict=True):
        (found,) = torch.autograd.grad(type(layer).forward(layer, x), weight, grad)
        total += found
    return total


def gradients(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def trained(net: nn.Module, x: Tensor, loss: Loss, **how: Any) -> tuple[rbp.Step, dict[str, Tensor]]:
    """One `rbp.backward` from gradients of nothing: what it returns, and the gradients."""
    net.zero_grad(set_to_none=True)
    torch.manual_seed(7)  # dropout's masks
    step = rbp.backward(net, x, loss, **how)
    return step, gradients(net)
