"""How far the gradients of operators that do not commute with the time mean are from BPTT's, as documented.

The figures stand in rbp/rate/norms.py, pooling.py and functions.py; without the operator the distance is 0.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import rbp
from tests.support.operators import OPERATORS, Operated

SEEDS = range(5)


def distance_of_weights(operator: Callable[[], nn.Module], seed: int) -> dict[str, float]:
    torch.manual_seed(seed)
    net, x = Operated(operator()), torch.randn(8, 3, 8, 8)
    labels = torch.randint(0, 5, (8,))
    gradients = []
    for mode in ("bptt", "rate"):
        net.zero_grad()
        F.cross_entropy(rbp.forward(net, x, T=6, grad_mode=mode), labels).backward()
        gradients.append({k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None})
    bptt, rate = gradients
    return {k: float((rate[k] - g).norm() / g.norm()) for k, g in bptt.items() if "weight" in k}


@pytest.mark.parametrize("name", OPERATORS)
def test_distance_from_bptt_is_the_documented_one(name: str) -> None:
    operator, least, most = OPERATORS[name]
    for seed in SEEDS:
        distances = distance_of_weights(operator, seed)
        assert least <= distances.pop("conv.weight") <= most
        assert all(d < 1e-5 for d in distances.values())  # the operator's own and the head's are exact
