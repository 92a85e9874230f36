"""BPTT gives the same in both step modes for every layer of PyTorch, on any axis that it works on."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import base, layer, neuron
from torch import Tensor, nn

import rbp
from rbp.rate import InputError
from tests.support.networks import lif

B = 5
Use = Callable[[Any, Tensor], Tensor]


def tokens(s: Tensor) -> Tensor:
    """Spikes [B, 8] as [B, 2, 8]."""
    return s.unflatten(1, (2, 4)).repeat(1, 1, 2)


def itself(m: nn.Module, s: Tensor) -> Tensor:
    return m(s)


def of_tokens(m: nn.Module, s: Tensor) -> Tensor:
    return m(tokens(s))


def attention(m: nn.Module, s: Tensor) -> Tensor:
    x = tokens(s)
    return m(x, x, x)[0]


def attention_without_weights(m: nn.Module, s: Tensor) -> Tensor:
    x = tokens(s)
    return m(x, x, x, need_weights=False)[0]


def first_of_tokens(m: nn.Module, s: Tensor) -> Tensor:
    return m(tokens(s))[0]


LAYERS: dict[str, tuple[Callable[[], nn.Module], Use]] = {
    # over the batch, in whatever way the axis is named
    "softmax over the batch": (lambda: nn.Softmax(0), itself),
    "softmax over axis -2": (lambda: nn.Softmax(-2), itself),
    "softmax over axis -2 of three": (lambda: nn.Softmax(-2), of_tokens),
    "softmax over axis -3 of three": (lambda: nn.Softmax(-3), of_tokens),
    "softmax over no named axis of three": (nn.Softmax, of_tokens),
    "softmax over no named axis of two": (nn.Softmax, itself),
    "log-softmax over the batch": (lambda: nn.LogSoftmax(0), itself),
    "softmin over the batch": (lambda: nn.Softmin(0), itself),
    "softmax of each sample": (lambda: nn.Softmax(-1), itself),
    "glu of the batch": (lambda: nn.GLU(0), lambda m, s: m(torch.cat((s, s + 1)))),
    "glu of each sample": (lambda: nn.GLU(), lambda m, s: m(s)),
    "the batch unflattened": (lambda: nn.Unflatten(0, (B, 1)), lambda m, s: m(s).flatten(1)),
    "the batch flattened": (lambda: nn.Flatten(0), lambda m, s: m(s).view(B, 8)),
    "axes -3 and on flattened": (lambda: nn.Flatten(-3), lambda m, s: m(tokens(s)).view(B, 16)),
    "layer norm over the batch": (lambda: nn.LayerNorm([B, 8]), itself),
    "RMS norm over the batch": (lambda: nn.RMSNorm([B, 8]), itself),
    # sequences
    "GRU": (lambda: nn.GRU(8, 8), first_of_tokens),
    "GRU, batch first": (lambda: nn.GRU(8, 8, batch_first=True), first_of_tokens),
    "LSTM": (lambda: nn.LSTM(8, 8), first_of_tokens),
    "GRU over the batch as a sequence": (lambda: nn.GRU(8, 8), lambda m, s: m(s)[0]),
    "RNN, its last state": (
        lambda: nn.RNN(8, 8, batch_first=True),
        lambda m, s: m(tokens(s))[1].transpose(0, 1),
    ),
    "GRU cell": (lambda: nn.GRUCell(8, 8), itself),
    "LSTM cell": (lambda: nn.LSTMCell(8, 8), lambda m, s: m(s)[0]),
    "attention": (lambda: nn.MultiheadAttention(8, 2), attention),
    "attention, batch first": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), attention),
    "attention without weights": (lambda: nn.MultiheadAttention(8, 2), attention_without_weights),
    "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), of_tokens),
    "transformer, sequence first": (lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), of_tokens),
    "transformer's decoder": (
        lambda: nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        lambda m, s: m(tokens(s), tokens(s)),
    ),
    # others
    "bilinear": (lambda: nn.Bilinear(8, 8, 8), lambda m, s: m(s, s)),
    "cosine similarity": (lambda: nn.CosineSimilarity(0), lambda m, s: m(s, s + 1).expand(B, 8)),
    "embedding": (lambda: nn.Embedding(4, 8), lambda m, s: m(s.long()) * s[..., None]),
    "PReLU": (lambda: nn.PReLU(8), itself),
    "RReLU": (nn.RReLU, itself),
    "alpha dropout": (lambda: nn.AlphaDropout(0.5), itself),
    "local response norm": (lambda: nn.LocalResponseNorm(2), of_tokens),
    "fractional pooling": (
        lambda: nn.FractionalMaxPool2d(2, output_size=1),
        lambda m, s: m(s.view(-1, 2, 2, 2)),
    ),
    "channels shuffled": (lambda: nn.ChannelShuffle(2), lambda m, s: m(s.view(-1, 4, 2, 1))),
    "drop-connect": (lambda: layer.DropConnectLinear(8, 8), itself),
    "drop-connect, invariant": (lambda: layer.DropConnectLinear(8, 8, invariant=True), itself),
}


class Net(nn.Module):
    def __init__(self, use: Use, under_test: nn.Module) -> None:
        super().__init__()
        self.a, self.spiking, self.m, self.use = nn.Linear(8, 8), lif(v_threshold=0.3), under_test, use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self.m, self.spiking(self.a(x))).flatten(1)


def outcome(net: nn.Module, step_mode: str, T: int) -> tuple[Tensor, list[Tensor | None]]:
    net.zero_grad()
    torch.manual_seed(1)
    x_seq = 3 * torch.rand(T, B, 8, dtype=torch.float64)
    y = rbp.forward(net, x_seq, grad_mode="bptt", step_mode=step_mode)
    if y.requires_grad:  # drop-connect in eval mode samples, and has no gradient
        (y * torch.arange(1.0, 1 + y.numel()).view_as(y)).sum().backward()
    return y.detach(), [p.grad for p in net.parameters()]


def same_in_both_step_modes(net: nn.Module, T: int) -> None:
    y, grads = outcome(net, "s", T)
    z, found = outcome(net, "m", T)
    torch.testing.assert_close(z, y, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found, grads, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("T", [1, 4])
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
def test_both_step_modes_agree(name: str, train: bool, T: int) -> None:
    make, use = LAYERS[name]
    torch.manual_seed(0)
    same_in_both_step_modes(Net(use, make()).double().train(train), T)


class Noisy(base.MemoryModule):
    """A leaky sum with noise, written for one step."""

    v: Any

    def __init__(self) -> None:
        super().__init__()
        self.register_memory("v", 0.0)

    def single_step_forward(self, x: Tensor) -> Tensor:
        self.v = 0.5 * self.v + x + torch.rand_like(x)
        return torch.sigmoid(self.v)


class Shifted(neuron.LIFNode):
    """Overrides the single step only, which SpikingJelly does not call in step mode m."""

    def single_step_forward(self, x: Tensor) -> Tensor:
        return super().single_step_forward(x + 0.5 * torch.rand_like(x))


class ShiftedState(neuron.ParametricLIFNode):
    def single_step_functional_forward(self, inputs: Any, states: Any, **kwargs: Any) -> Any:
        return super().single_step_functional_forward((inputs[0] + 0.5,), states, **kwargs)


@pytest.mark.parametrize("make", [Noisy, Shifted, ShiftedState])
def test_single_steps_of_the_users_own_are_those_of_mode_m(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    same_in_both_step_modes(Net(itself, make()).double(), 4)
    wrapped = nn.Sequential(layer.Linear(8, 8), make(), layer.Linear(8, 8))  # a network that sees time
    same_in_both_step_modes(wrapped.double(), 4)


class Charge(neuron.LIFNode):
    v: Any

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v + x


class SimpleCharge(neuron.SimpleLIFNode):
    v: Any

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v + 2 * x


@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_equations_that_spikingjelly_does_not_call_are_refused(grad_mode: str, step_mode: str) -> None:
    x_seq = torch.rand(4, B, 8)
    with pytest.raises(InputError, match=r"Charge overrides neuronal_charge, which SpikingJelly's LIFNode"):
        rbp.forward(nn.Sequential(nn.Linear(8, 8), Charge()), x_seq, grad_mode=grad_mode, step_mode=step_mode)


def test_equations_of_simple_neurons_are_called() -> None:
    torch.manual_seed(0)
    same_in_both_step_modes(Net(itself, SimpleCharge(2.0, True)).double(), 4)


@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
def test_a_compiled_part_is_refused(grad_mode: str) -> None:
    compiled: Any = torch.compile(nn.Linear(8, 8), backend="eager")
    with pytest.raises(InputError, match=r"m is compiled by torch\.compile"):
        rbp.forward(Net(itself, compiled), torch.rand(2, B, 8), grad_mode=grad_mode)


def test_an_error_of_torch_tells_what_the_network_was_run_on() -> None:
    net = Net(lambda m, s: torch.vmap(m)(s), nn.Linear(8, 8))
    for grad_mode, told in (("rate", "grad_mode='rate'"), ("bptt", "step_mode='m'")):
        with pytest.raises(ValueError) as caught:  # torch.vmap's own
            rbp.forward(net, torch.rand(2, B, 8), grad_mode=grad_mode)
        assert any(told in note and "step_mode='s' runs it" in note for note in caught.value.__notes__)
    rbp.forward(net, torch.rand(2, B, 8), grad_mode="bptt", step_mode="s")
