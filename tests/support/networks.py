"""Small spiking networks, and what is asked of them: the output and the gradients of a step, how far two of
those are apart, what a call must leave as it was, and the memory that it takes.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from spikingjelly.activation_based import base, neuron, surrogate
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import rbp

BPTT: dict[str, Any] = {"grad_mode": "bptt"}
RATE: dict[str, Any] = {"grad_mode": "rate"}
MODES = [(g, s) for g in ("bptt", "rate") for s in ("m", "s")]


def lif(**changes: Any) -> nn.Module:
    """The neuron of the paper, with changes: soft reset, detached, input not decayed."""
    settings = {"tau": 1.25, "decay_input": False, "v_reset": None, "detach_reset": True}
    return neuron.LIFNode(**settings | {"surrogate_function": surrogate.Sigmoid(4.0)} | changes)


class After(nn.Module):
    """A spiking layer, a layer under test, and what makes five numbers a sample of its output."""

    def __init__(self, layer: nn.Module, shape: tuple[int, ...], spiking: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.spiking = nn.Conv1d(shape[0], shape[0], 1), spiking or lif()
        self.layer = layer
        with torch.no_grad():
            self.first.weight.mul_(3.0)
            features = layer(torch.zeros(2, *shape)).flatten(1).shape[1]
        self.last = nn.Linear(features, 5)

    def forward(self, x: Tensor) -> Tensor:
        currents = self.first(x.flatten(2)).reshape(x.shape)
        return self.last(self.layer(self.spiking(currents)).flatten(1))


def small(last: nn.Module | None = None) -> nn.Sequential:
    body = [nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), lif(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3)]
    end = [nn.BatchNorm2d(6), neuron.LIFNode(v_threshold=0.2), nn.Flatten(), last or nn.Linear(24, 5)]
    return nn.Sequential(*body, *end)


def frames(T: int = 3, B: int = 4) -> torch.Tensor:
    return torch.randn(T, B, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def with_dropout(neuron: Callable[[], nn.Module], in_channels: int, classes: int) -> nn.Module:
    """All that is random or has a state: dropout, batch statistics, a learnable leak."""
    body = [nn.Conv2d(in_channels, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), neuron(), nn.AvgPool2d(4)]
    return nn.Sequential(*body, nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, classes))


def without_norm(neuron: Callable[[], nn.Module], in_channels: int, classes: int) -> nn.Module:
    """Sees each image by itself: no batch statistics, and nothing random."""
    body = [nn.Conv2d(in_channels, 8, 3), neuron(), nn.AvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(72, 16), neuron(), nn.Linear(16, classes))


# --- gradients ----------------------------------------------------------------------------------------------


def step(net: nn.Module, x: Tensor, *, seed: int = 0, **how: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Output and gradients by name of one training step, on labels 0, 1, 2, ..."""
    net.zero_grad()
    torch.manual_seed(seed)  # dropout's masks
    y = rbp.forward(net, x, **how)
    labels = torch.arange(y.shape[-2], device=y.device) % y.shape[-1]
    F.cross_entropy(y if y.dim() == 2 else y.mean(0), labels).backward()
    trained = {k: p for k, p in net.named_parameters() if p.requires_grad}
    return y.detach(), {
        k: torch.zeros_like(p) if p.grad is None else p.grad.clone() for k, p in trained.items()
    }


def gradients_of(net: nn.Module) -> dict[str, Tensor]:
    """The gradients by name; fails where a parameter has none."""
    found = {}
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        found[name] = parameter.grad
    return found


def distance(a: dict[str, Tensor], b: dict[str, Tensor], *, floor: float = 1e-9) -> float:
    """The largest relative difference of any gradient; those below floor of the largest count as rounding."""
    assert a.keys() == b.keys() and a
    largest = max(float(g.norm()) for g in b.values())
    return max(float((a[k] - b[k]).norm() / b[k].norm().clamp(min=floor + 1e-4 * largest)) for k in b)


def apart(make: Callable[[], nn.Module], x: Tensor, one: dict, other: dict) -> float:
    """How far the gradients of two ways of running the same network are apart, in float64; outputs are
    equal."""
    torch.manual_seed(3)
    net = make().double()
    x = x[0].double().expand(x.shape) if x.stride(0) == 0 else x.double()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    y_one, g_one = step(net, x, **one)
    net.load_state_dict(state)
    y_other, g_other = step(net, x, **other)
    torch.testing.assert_close(y_one, y_other, rtol=1e-9, atol=1e-9)
    return distance(g_one, g_other)


# --- what a call leaves and what it takes -------------------------------------------------------------------


def snapshot(net: nn.Module) -> dict:
    """All that a call may not change, in comparable form; tensors by identity and version."""
    modules = dict(net.named_modules())
    return {
        "grad": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "training": {k: m.training for k, m in modules.items()},
        "step modes": {k: getattr(m, "step_mode", None) for k, m in modules.items()},
        "attributes": {k: sorted(m.__dict__) for k, m in modules.items()},
        "hooks": {k: list(m._forward_hooks) + list(m._forward_pre_hooks) for k, m in modules.items()},
        "children": {k: [id(c) for c in m.children()] for k, m in modules.items()},
        "memories": {k: repr(m._memories) for k, m in modules.items() if isinstance(m, base.MemoryModule)},
        "parameters": {k: (id(p), p._version, p.requires_grad) for k, p in net.named_parameters()},
    }


def statistics(net: nn.Module) -> dict:
    return {k: b.tolist() for k, b in net.named_buffers()}


class AliveBytes(TorchDispatchMode):
    """Bytes of the storages made inside, as they come and go: `most` at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {self.key(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and self.key(tensor) not in self.seen | given:
                self.count(tensor.untyped_storage())
        return result

    def key(self, tensor: torch.Tensor) -> int:
        return tensor.untyped_storage()._cdata

    def count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self.seen.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self.forget, key, size)

    def forget(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


class Kept:
    """A tensor that the graph keeps, while it does."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def kept_bytes(net: nn.Module, x: torch.Tensor, **how: Any) -> int:
    """Bytes of the storages that the graph keeps after the forward pass, parameters and the input not
    counted."""
    kept: weakref.WeakSet[Kept] = weakref.WeakSet()

    def pack(tensor: Tensor) -> Kept:
        kept.add(holder := Kept(tensor.detach()))  # with its graph it would keep itself
        return holder

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda holder: holder.tensor):
        y = rbp.forward(net, x, **how)
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in (k.tensor for k in kept)
    }
    for tensor in (*net.parameters(), x):
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    assert y.requires_grad
    return sum(storages.values())


def most_alive(net: nn.Module, x: torch.Tensor, **how: Any) -> int:
    with AliveBytes() as alive:
        rbp.forward(net, x, **how).sum().backward()
    return alive.most


class _Noise(nn.Module):
    """Draws at every call, so that a pass too many shows."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn(())


class _TimeMean(nn.Module):
    """Repeats an image twice itself, and returns the mean of the outputs of the two steps."""

    def __init__(self, first: nn.Module, neuron: Any, last: nn.Module) -> None:
        super().__init__()
        self.first, self.neuron, self.last = first, neuron, last
        self.neuron.step_mode = "m"

    def forward(self, x: Tensor) -> Tensor:
        currents = self.first(x.expand(2, *x.shape).flatten(0, 1)).unflatten(0, (2, -1))
        mean: Tensor = self.last(self.neuron(currents)).mean(0)
        return mean


def mean_itself(neuron: Callable[[], nn.Module], in_channels: int, classes: int) -> nn.Module:
    """A network that hides its steps, for images of 8 x 8 and T=2, and draws random numbers."""
    first = nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, 20), _Noise())
    return _TimeMean(first, neuron(), nn.Linear(20, classes))
