"""Ways to run a step: two layouts in memory, and a CUDA graph where there is a GPU."""

import contextlib

import pytest
import torch

from rbp.bench import step as module
from rbp.bench.contestants import NAMES, RATE, RATE_GRAPH, RELU, contestant
from rbp.bench.measure import Bench, measure
from rbp.bench.step import CHANNELS_LAST, CONTIGUOUS, NotCaptured, Step, capture, choose_layout
from tests.support.configs import make

CPU = torch.device("cpu")


def a_step(name: str = RELU) -> Step:
    cfg = make("T=2", "trainer.device=cpu")
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Step(*contestant(name, cfg, x, {}), cfg, x, torch.tensor([0, 1, 2, 3]))


@pytest.mark.parametrize(("contiguous", "last", "expected"), [(1, 2, CONTIGUOUS), (2, 1, CHANNELS_LAST)])
def test_the_faster_layout_is_kept(contiguous: float, last: float, expected: str) -> None:
    step = a_step()
    taken = {CONTIGUOUS: contiguous, CHANNELS_LAST: last}
    assert choose_layout(step, lambda step: taken[step.layout]) == step.layout == expected
    weight = next(p for p in step.net.parameters() if p.dim() == 4 and p.shape[1] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last) == (expected == CHANNELS_LAST)


def test_a_layout_that_takes_for_ever_or_as_long_is_not_chosen() -> None:
    assert choose_layout(a_step(), lambda step: float("inf")) == CONTIGUOUS


@pytest.mark.parametrize("name", NAMES)
def test_layouts_change_no_gradient(name: str) -> None:
    step = a_step(name)
    before = [step()] + [p.grad.clone() for p in step.net.parameters() if p.grad is not None]
    step.lay_out(CHANNELS_LAST)
    after = [step()] + [p.grad for p in step.net.parameters() if p.grad is not None]
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_without_a_gpu_there_is_no_graph_and_a_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotCaptured, match="need a GPU"):
        capture(a_step())
    monkeypatch.setattr("rbp.bench.measure.compiled.works", lambda device: True)
    monkeypatch.setattr("rbp.bench.contestants.rate_options_of", lambda name, options: options)
    bench = Bench((RELU, RATE_GRAPH), 4, CPU, 1, {"kernels": "plain"})
    assert list(measure(make("T=2", "trainer.device=cpu"), bench)) == [RELU]
    assert bench.notes == [f"{RATE_GRAPH}: left out, as it could not be captured: CUDA graphs need a GPU"]


class FakeGraph:
    """In place of torch.cuda.CUDAGraph: replays a step that is given to the class."""

    replay = staticmethod(lambda: None)


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def wait_stream(self, other: object) -> None: ...

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)


def test_a_graph_is_kept_if_it_writes_the_steps_gradients(
    fake_cuda: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = a_step(RATE)
    assert module._capture(step) is FakeGraph.replay

    def wrong() -> None:
        for parameter in step.net.parameters():
            parameter.grad = torch.zeros_like(parameter)

    monkeypatch.setattr(FakeGraph, "replay", staticmethod(wrong))
    with pytest.raises(NotCaptured, match="its gradients have norm 0, not"):
        module._capture(step)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_captured_step_writes_the_same_gradients_again() -> None:
    cfg = make("T=2", "trainer.device=cuda")
    x, y = torch.rand(4, 1, 8, 8, device="cuda"), torch.tensor([0, 1, 2, 3], device="cuda")
    step = Step(*contestant(RATE, cfg, x, {"kernels": "plain"}), cfg, x, y)
    step()
    before = [p.grad.clone() for p in step.net.parameters()]  # type: ignore[union-attr]
    replay = capture(step)
    for p in step.net.parameters():
        p.grad.zero_()  # type: ignore[union-attr]
    replay()
    for one, p in zip(before, step.net.parameters(), strict=True):
        torch.testing.assert_close(one, p.grad, rtol=1e-3, atol=1e-5)
