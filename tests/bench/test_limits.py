"""Operations and bytes of a step, against numbers worked out by hand."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rbp.bench.contestants import ALL, NAMES, RATE_COMPILED, contestant, eager
from rbp.bench.limits import BytesMovedCounter, count, speed
from rbp.bench.step import Step
from tests.support.configs import make


def test_operations_are_two_a_multiplication_and_addition() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5))
    x = torch.rand(2, 3, 8, 8)
    convolution = 2 * 2 * 64 * 4 * 3 * 9  # two, batch, places, out, in, taps
    linear = 2 * 2 * 256 * 5
    work = count(lambda: net(x).sum().backward())
    assert work.operations == 2 * convolution + 3 * linear  # the image needs no gradient
    assert work.namespaces == {"aten"}


def test_bytes_are_each_tensor_once_and_views_and_gradients_of_sums_free() -> None:
    x, w = torch.rand(2, 3), torch.rand(3, 4, requires_grad=True)

    def step() -> None:
        (x @ w).relu().sum().backward()

    product, relu, total = 24 + 48 + 32, 32 + 32, 32 + 4
    one = 4  # the gradient of the sum, which is expanded
    back = (one + 32 + 32) + (24 + 32 + 48)
    assert count(step).moved_bytes == product + relu + total + one + back
    # Compiled kernels have relu and its gradient for nothing.
    assert count(step, fused=True).moved_bytes == product + total + one + (24 + 32 + 48)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (lambda x: x.t()[:2].expand(5, 2, 3), 0),
        (torch.empty_like, 0),
        (torch.zeros_like, 48),
        (lambda x: x.zero_(), 48),
        (lambda x: x.add_(x), 96),  # one tensor given twice is read once
        (lambda x: torch.empty(3, 4).copy_(x), 96),
        (lambda x: torch.add(x, x, out=torch.empty(3, 4)), 96),
        (lambda x: x[:1].expand(3, 4).clone(), 48 + 48),  # the storage that it is a part of
    ],
)
def test_what_moves_and_what_does_not(action: Callable[[Tensor], Any], expected: int) -> None:
    x = torch.rand(3, 4)
    with torch.no_grad(), BytesMovedCounter() as moved:
        action(x)
    assert moved.total == expected


def test_rate_does_t_forwards_and_one_backward_bptt_t_of_both() -> None:
    """conv 32, conv 64, pool 2, conv 128, linear on 8 x 8: the first of a static image is one convolution."""
    cfg = make("T=3", "trainer.device=cpu")
    x, y = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    first, second, third = 2 * 4 * 64 * 32 * 9, 2 * 4 * 64 * 64 * 32 * 9, 2 * 4 * 16 * 128 * 64 * 9
    last = 2 * 4 * 10 * 128
    found = {}
    for name in (*NAMES, "rate, 2 segments", "rate, 3 segments"):
        net, forward = contestant(name, cfg, x, {})
        found[name] = count(Step(net, forward, cfg, x, y)).operations
    others = second + third + last
    assert found["relu"] == 2 * first + 3 * others
    assert found["bptt"] == 3 * found["relu"]
    assert found["rate"] == pytest.approx(2 * first + 5 * others, rel=0.01)
    for k in (2, 3):  # T forwards, k backwards
        assert found[f"rate, {k} segments"] == pytest.approx((1 + k) * first + (3 + 2 * k) * others, rel=0.01)
    assert found["bptt + memopt"] == found["bptt"] + 3 * (first + second + third)


def test_the_eager_pass_that_is_counted_computes_what_is_timed() -> None:
    cfg = make("T=3", "trainer.device=cpu")
    x, y = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    for name in [name for name in ALL if "compiled" not in name]:
        net, forward = contestant(name, cfg, x, {})
        step = Step(net, forward, cfg, x, y)
        counted = dataclasses.replace(step, forward=eager(name, net, cfg, forward, {}))
        assert torch.equal(step(), counted())
    net, forward = contestant(RATE_COMPILED, cfg, x, {})
    assert torch.isfinite(eager(RATE_COMPILED, net, cfg, forward, {})(x, 3)).all()


def test_speeds_are_measured_once_and_leave_the_settings_alone() -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    found = speed(torch.device("cpu"), "fp32")
    assert found.operations > 1e8 and found.moved_bytes > 1e7
    assert speed(torch.device("cpu"), "fp32") is found
    assert torch.backends.cuda.matmul.allow_tf32 == before
