"""How far the gradients of operators that do not commute with the time mean are from BPTT's, as documented.

The figures stand in rbp/rate/norms.py, pooling.py and functions.py; without the operator the distance is 0.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import rbp
from tests.support.networks import lif

SEEDS = range(5)


class Product(nn.Module):
    def forward(self, x):
        a, b = x.chunk(2, 1)
        return a @ b.mT


class Attention(nn.Module):
    def forward(self, x):
        q, k, v = x.flatten(2).chunk(3, 1)
        return v @ k.mT @ q * 0.125


class Einsum(nn.Module):
    def forward(self, x):
        return torch.einsum("bchw,bcvw->bchv", *x.chunk(2, 1))


class Gate(nn.Module):
    def forward(self, x):
        a, b = x.chunk(2, 1)
        return a * b


class Net(nn.Module):
    def __init__(self, operator: nn.Module) -> None:
        super().__init__()
        self.conv, self.lif, self.operator = nn.Conv2d(3, 24, 3, padding=1), lif(), operator
        with torch.no_grad():
            self.conv.weight.mul_(3.0)
            features = operator(torch.zeros(1, 24, 8, 8)).flatten(1).shape[1]
        self.fc = nn.Linear(features, 5)

    def forward(self, x):
        return self.fc(self.operator(self.lif(self.conv(x))).flatten(1))


def distance_of_weights(operator, seed: int) -> dict[str, float]:
    torch.manual_seed(seed)
    net, x = Net(operator()), torch.randn(8, 3, 8, 8)
    labels = torch.randint(0, 5, (8,))
    gradients = []
    for mode in ("bptt", "rate"):
        net.zero_grad()
        F.cross_entropy(rbp.forward(net, x, T=6, grad_mode=mode), labels).backward()
        gradients.append({k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None})
    bptt, rate = gradients
    return {k: float((rate[k] - g).norm() / g.norm()) for k, g in bptt.items() if "weight" in k}


OPERATORS = {
    "nothing": (nn.Identity, 0.0, 1e-5),
    "group norm": (lambda: nn.GroupNorm(4, 24), 0.004, 0.006),
    "layer norm of the whole sample": (lambda: nn.LayerNorm([24, 8, 8]), 0.002, 0.004),
    "layer norm of rows of 8": (lambda: nn.LayerNorm(8), 0.07, 0.1),
    "max pool 3x3": (lambda: nn.MaxPool2d(3, 2, 1), 0.01, 0.02),
    "max pool 2x2": (lambda: nn.MaxPool2d(2), 0.01, 0.02),
    "product": (Product, 0.007, 0.011),
    "product by einsum": (Einsum, 0.007, 0.011),
    "attention": (Attention, 0.012, 0.02),
    "gate": (Gate, 0.005, 0.05),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_distance_from_bptt_is_the_documented_one(name):
    operator, least, most = OPERATORS[name]
    for seed in SEEDS:
        distances = distance_of_weights(operator, seed)
        assert least <= distances.pop("conv.weight") <= most
        assert all(d < 1e-5 for d in distances.values())  # the operator's own and the head's are exact
