"""Step mode m in chunks of time steps: the same numbers, in memory that does not grow with T."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

import rbp
from rbp.models.resnet import resnet18
from rbp.rate.memory.lazy import Bits
from tests.support.golden_vectors import FILES, before_norm, relative, step
from tests.support.networks import frames, gradients_of, kept_bytes, lif, most_alive, small


class Shown(nn.Module):
    """SpikingJelly's wrappers, a sum after the neurons, and max pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.lif1 = layer.Conv2d(2, 6, 3, padding=1), layer.BatchNorm2d(6), lif()
        self.conv2, self.bn2, self.lif2 = layer.Conv2d(6, 6, 3, padding=1), layer.BatchNorm2d(6), lif()
        self.pool, self.last = layer.MaxPool2d(2), layer.Linear(6 * 16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.lif1(self.bn1(self.conv1(x)))
        x = self.pool(self.lif2(self.bn2(self.conv2(x))) + x)
        return self.last(x.flatten(2))


class PreAct(nn.Module):
    """Sums that no neuron follows: five of them, one upon the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4, 5)
        self.bodies = nn.ModuleList(
            nn.Sequential(lif(), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)) for _ in range(5)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for body in self.bodies:
            x = body(x) + x
        return self.last(x.mean((2, 3)))


def plain() -> nn.Module:
    body = [
        nn.Conv2d(2, 6, 3),
        nn.GroupNorm(2, 6),
        neuron.ParametricLIFNode(v_threshold=0.3),
        nn.Dropout(0.3),
    ]
    end = [nn.AvgPool2d(2), nn.Conv2d(6, 6, 2), neuron.KLIFNode(v_threshold=0.2), nn.BatchNorm2d(6)]
    return nn.Sequential(*body, *end, nn.Flatten(), nn.Linear(24, 5))


NETS = {
    "small": small,
    "resnet": lambda: resnet18(lif, 2, 5),
    "wrappers": Shown,
    "preact": PreAct,
    "others": plain,
}


@pytest.mark.parametrize("chunk", [1, 2, 5, 9])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=[pytest.mark.slow] if name == "resnet" else [])
        for name, make in NETS.items()
    ],
)
def test_chunks_change_nothing_but_rounding(make: Callable[[], nn.Module], static: bool, chunk: int) -> None:
    torch.manual_seed(0)
    net = make().double()
    x = frames(T=5).double()
    x = x[0].expand(x.shape) if static else x
    state = {k: v.clone() for k, v in net.state_dict().items()}
    results: list[list[Tensor]] = []
    for size in (None, chunk):
        net.load_state_dict(state)
        net.zero_grad()
        torch.manual_seed(1)  # dropout's mask
        y = rbp.forward(net, x, per_step=True, chunk=size)
        F.cross_entropy(y.mean(0), torch.arange(4)).backward()
        results.append([t.clone() for t in (y.detach(), *gradients_of(net).values(), *net.buffers())])
    for whole, chunked in zip(*results, strict=True):
        torch.testing.assert_close(chunked, whole, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", [f for f in FILES if "-m-T5-rate" in f and not f.startswith("sew")])
def test_chunks_agree_with_the_published_code(name: str) -> None:
    net, arrays, *_ = step(name, chunk=2)
    for key, parameter in net.named_parameters():
        published = arrays[f"grad/{key}"] * int(arrays["T"])
        if not before_norm(key, net):
            assert relative(parameter.grad, published) < 1e-4, key


def network() -> nn.Module:
    def block(channels: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, 32, 3, padding=1), nn.BatchNorm2d(32), lif()]

    return nn.Sequential(
        *block(2), *block(32), *block(32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5)
    )


@pytest.mark.slow
@pytest.mark.parametrize("static", [False, True])
def test_memory_at_its_most_grows_by_the_bits_of_the_spikes_alone(static: bool) -> None:
    net = network()

    def most(T: int, chunk: int | None) -> int:
        x = torch.rand(4, 2, 16, 16).expand(T, 4, 2, 16, 16)
        x = x if static else x.clone()
        return most_alive(net, x, chunk=chunk)

    layer_step = 4 * 32 * 16 * 16 * 4  # bytes of a step of a layer
    frames_step = 4 * 2 * 16 * 16 * 4
    grown = most(64, 2) - most(8, 2)
    assert grown <= 56 * (2 * layer_step / 32 + frames_step) * 1.05  # two layers' bits, and the input
    assert most(64, None) - most(8, None) > 56 * layer_step
    assert most(64, 2) < most(64, None) / 5


@pytest.mark.parametrize("make", [network, small])
def test_as_much_is_kept_for_the_backward_pass_as_without_chunks(make: Callable[[], nn.Module]) -> None:
    x = torch.rand(6, 4, 2, 8, 8) if make is small else torch.rand(6, 4, 2, 16, 16)
    assert kept_bytes(make(), x, chunk=2) == kept_bytes(make(), x)


def test_bits_hold_spikes() -> None:
    spikes = torch.rand(19, 3, 4).round()
    bits = Bits(spikes[0], 19, 4)
    for start in range(0, 19, 4):
        bits.write(start, spikes[start : start + 4])
    assert torch.equal(bits[slice(0, 19)], spikes) and torch.equal(bits[slice(6, 11)], spikes[6:11])
    assert sum(b.numel() for b in bits.bytes) == 3 * spikes[0].numel()


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_chunk_of_no_steps_is_refused(chunk: int) -> None:
    with pytest.raises(rbp.rate.InputError, match="chunk="):
        rbp.forward(small(), frames(), chunk=chunk)


def test_chunks_are_of_step_mode_m_alone() -> None:
    """Step mode s has one step in memory as it is."""
    torch.manual_seed(0)
    net = PreAct().eval()
    x = torch.rand(4, 3, 2, 8, 8)
    y, z = (rbp.forward(net, x, step_mode="s", chunk=chunk) for chunk in (None, 2))
    assert torch.equal(y, z)
