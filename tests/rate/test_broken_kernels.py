"""Kernels that cannot be compiled, the first or a later one: a warning, the plain numbers, and no end.

The kernels here are the functions that torch.compile would be given, run as they are.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rbp.rate.neurons import compiled
from rbp.train import train
from tests.support.networks import lif, step
from tests.support.training import short

pytestmark = pytest.mark.slow

Breaks = Callable[
    ..., bool
]  # (start, steps, arguments of the call; None while it is made) -> whether it fails


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Breaks], None]]:
    """Says which kernels cannot be made or called."""
    whole = compiled._kernel.__wrapped__
    monkeypatch.setattr(torch, "compile", lambda function, **how: function)
    monkeypatch.setattr(compiled, "works", lambda device: True)
    monkeypatch.setattr(compiled, "_broken", set())

    def set_up(breaks: Breaks) -> None:
        def kernel(key: Any, form: Any, last: bool, start: Any) -> Callable:
            own = whole(key, form, last, start)

            def called(*arguments: Any) -> Any:
                if breaks(start, form[0], arguments):
                    raise RuntimeError("no such compiler\nand a long story")
                return own(*arguments)

            return called

        monkeypatch.setattr(compiled, "_kernel", kernel)

    yield set_up
    compiled.ran.clear()


def named(value: Any) -> str:
    return getattr(value, "__name__", str(value))


def every(start: Any, steps: int, arguments: tuple) -> bool:
    return True


def none(start: Any, steps: int, arguments: tuple) -> bool:
    return False


def later(start: Any, steps: int, arguments: tuple) -> bool:
    """A segment that goes on from where another ended."""
    return start is None


def first(start: Any, steps: int, arguments: tuple) -> bool:
    return start is not None


def at_five(start: Any, steps: int, arguments: tuple) -> bool:
    """Five images."""
    return arguments[-1].shape[1] == 5


def last_step(start: Any, steps: int, arguments: tuple) -> bool:
    return steps == 1


def network(**how: Any) -> nn.Module:
    torch.manual_seed(0)
    body = [
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        lif(**how),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 2),
        lif(**how),
    ]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(16, 5))


def frames(B: int, T: int = 9) -> Tensor:
    return torch.randn(T, B, 2, 8, 8, generator=torch.Generator().manual_seed(B))


def trained(batches: list[Tensor], kernels: str, how: dict[str, Any], **neuron: Any) -> list[Any]:
    """Outputs and gradients of one step after the other, each with an update."""
    net, told = network(**neuron), []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for x in batches:
        y, gradients = step(net, x, kernels=kernels, **how)
        optimizer.step()
        told.append({"output": y, **gradients})
    return told


WAYS: list[dict[str, Any]] = [{}, {"chunk": 3}, {"chunk": 5}, {"step_mode": "s"}, {"per_step": True}]


@pytest.mark.parametrize("breaks", [every, later, first, at_five, last_step, none], ids=named)
@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize("neuron", [{}, {"v_reset": 0.1, "detach_reset": False}], ids=["soft", "hard"])
def test_training_goes_on_with_the_plain_numbers(
    breaks: Breaks, how: dict[str, Any], neuron: dict[str, Any], breaking: Callable[[Breaks], None]
) -> None:
    breaking(breaks)
    batches = [frames(4), frames(5), frames(4), frames(5)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fused = trained(batches, "compiled", how, **neuron)
    plain = trained(batches, "plain", how, **neuron)
    for one, other in zip(fused, plain, strict=True):
        for key, value in one.items():
            torch.testing.assert_close(value, other[key], rtol=1e-5, atol=1e-6, msg=key)
    told = [str(w.message) for w in caught if "kernel" in str(w.message)]
    failed = bool(compiled._broken)
    assert told == ["A kernel could not be compiled: plain kernels run instead (no such compiler)"] * failed
    assert failed == (breaks is not none and met(breaks, how))


def met(breaks: Breaks, how: dict[str, Any]) -> bool:
    """Whether such a kernel is wanted at all: one step at a time has no segment of several."""
    return breaks is not last_step or how.get("chunk") != 3


def test_memory_that_runs_out_is_no_broken_kernel(breaking: Callable[[Breaks], None]) -> None:
    def full(*args: Any) -> bool:
        raise torch.OutOfMemoryError("no room")

    breaking(full)
    with pytest.raises(torch.OutOfMemoryError):
        trained([frames(4)], "compiled", {})
    assert not compiled._broken


# --- what a run says of it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("breaks", "overrides", "told"),
    [
        (none, ["T=5"], "compiled"),
        (later, ["T=5"], "partly compiled"),
        (every, ["T=5"], "plain"),
        (none, ["neuron.surrogate=erf"], "plain"),
        (none, ["grad_mode=bptt"], None),
    ],
    ids=named,
)
def test_a_result_says_which_kernels_ran(
    breaks: Breaks,
    overrides: list[str],
    told: str | None,
    tmp_path: Path,
    breaking: Callable[[Breaks], None],
) -> None:
    breaking(breaks)
    compiled.ran["plain"] = 1  # of another run of this process
    cfg, run = short(tmp_path, "trainer.kernels=compiled", *overrides)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A kernel could not be compiled")
        result = train(cfg, run.path)
    assert result["machine"]["kernels"] == told
