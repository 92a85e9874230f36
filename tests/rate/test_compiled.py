"""The scan as one compiled kernel: the same numbers, few kernels, and a warning without a compiler."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import rbp
from rbp.rate.neurons import compiled
from tests.support.networks import distance, lif
from tests.support.networks import step as train

CODE = """
import torch, warnings
from torch import nn
import rbp
from tests.support.networks import lif
from tests.support.networks import step as train

net = nn.Sequential(nn.Conv2d(2, 3, 3), lif(), nn.Flatten(), nn.Linear(48, 5), lif())
x = torch.randn(2, 4, 2, 6, 6)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    first, again = (train(net, x, kernels="compiled") for _ in range(2))
_, plain = train(net, x, kernels="plain")
assert all(torch.equal(first[1][k], plain[k]) and torch.equal(again[1][k], plain[k]) for k in plain)
print(*(str(w.message) for w in caught if "kernels" in str(w.message)), sep="\\n")
"""


def network() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), lif(), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        nn.Linear(16, 5),
    )


@pytest.mark.slow
@pytest.mark.xdist_group("compiler")
def test_kernels_give_the_plain_numbers_and_other_sizes_need_no_new_one() -> None:
    assert compiled.works(torch.device("cpu"))
    torch.manual_seed(0)
    net = network()
    made = []
    for batch, side in ((3, 8), (5, 12), (7, 9)):
        x = torch.randn(2, batch, 2, side, side)
        (y, plain), (z, fused) = (train(net, x, kernels=k) for k in ("plain", "compiled"))
        torch.testing.assert_close(z, y, rtol=1e-5, atol=1e-6)
        del plain["0.bias"], fused["0.bias"]  # 0 but for rounding
        assert distance(fused, plain) < 1e-4
        made.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert made[0] == made[1] == made[2] > 0


@pytest.mark.slow
def test_without_a_compiler_the_plain_kernels_run_with_one_line_of_warning() -> None:
    environment = os.environ | {"CXX": "/nonexistent", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.strip().splitlines()
    assert line.startswith("torch.compile does not work here: plain kernels run instead")


def test_on_a_cpu_kernels_are_compiled_when_asked_for_alone() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [compiled.wanted(k, cpu) for k in compiled.CHOICES] == [False, False, True]
    assert [compiled.wanted(k, cuda) for k in compiled.CHOICES] == [True, False, True]


def test_unknown_kernels_are_refused() -> None:
    with pytest.raises(rbp.rate.InputError, match="kernels='fast'"):
        rbp.forward(network(), torch.randn(2, 3, 2, 8, 8), kernels="fast")
