"""A contestant's training step (forward and backward, no optimizer), and two ways to make it faster."""

import contextlib
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn

from rbp.bench.contestants import Forward
from rbp.gradients import backward
from rbp.train.device import autocast

CONTIGUOUS, CHANNELS_LAST = "contiguous", "channels_last"
LAYOUTS = {CONTIGUOUS: torch.contiguous_format, CHANNELS_LAST: torch.channels_last}
CAPTURE_WARMUP = 3


class NotCaptured(Exception):
    """The reason why a step cannot be captured as a CUDA graph, in one line."""


@dataclass
class Step:
    """A training step on a fixed batch; each call drops the gradients of the call before.

    Attributes:
        net: The network.
        forward: Its forward pass.
        cfg: The config, with T and precision.
        x: Images [B, C, H, W].
        y: Labels [B].
        layout: The current memory layout, a key of LAYOUTS.
        online: The online gradient mode of the step, which then goes by `rbp.backward`; None: forward, loss
            and backward.
        around: Makes the context of a time step's graph, of an online mode.
    """

    net: nn.Module
    forward: Forward
    cfg: DictConfig
    x: Tensor
    y: Tensor
    layout: str = CONTIGUOUS
    online: str | None = None
    around: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext

    def __call__(self) -> Tensor:
        """Compute loss and gradients; return the loss."""
        self.net.zero_grad(set_to_none=True)
        if self.online is not None:
            return self._step_by_step(self.online)
        with autocast(self.cfg, self.x.device):
            logits = self.forward(self.x, self.cfg.T)
        loss = F.cross_entropy(logits.float(), self.y)
        loss.backward()
        return loss.detach()

    def _step_by_step(self, grad_mode: str) -> Tensor:
        x_seq = self.x.expand(self.cfg.T, *self.x.shape)
        with autocast(self.cfg, self.x.device):
            loss = functools.partial(F.cross_entropy, target=self.y)
            how = {"grad_mode": grad_mode, "layout": self.cfg.arch.get("layout"), "around": self.around}
            return backward(self.net, x_seq, loss, **how).loss

    def lay_out(self, layout: str) -> None:
        """Move the images and the weights of convolutions to a memory layout, a key of LAYOUTS."""
        self.net.to(memory_format=LAYOUTS[layout])
        self.x = self.x.contiguous(memory_format=LAYOUTS[layout])
        self.layout = layout


def choose_layout(step: Step, seconds: Callable[[Step], float]) -> str:
    """Put the step into the fastest memory layout, and return it; among equals, the first of LAYOUTS.

    Args:
        step: The step; left in the chosen layout.
        seconds: Measures the seconds of a step.
    """
    taken = {}
    for layout in LAYOUTS:
        step.lay_out(layout)
        taken[layout] = seconds(step)
    step.lay_out(min(taken, key=lambda layout: taken[layout]))
    return step.layout


def capture(step: Step) -> Callable[[], None]:
    """Capture the whole step as a CUDA graph.

    Returns:
        A function that runs the graph again on the same batch and writes the same gradients.

    Raises:
        NotCaptured: There is no GPU, capturing fails, or the graph's gradients differ from those of the step.
    """
    if step.x.device.type != "cuda":
        raise NotCaptured("CUDA graphs need a GPU")
    try:
        with torch.cuda.device(step.x.device):
            return _capture(step)
    except NotCaptured:
        raise
    except Exception as error:  # CUDA, Dynamo and Triton raise many types
        with contextlib.suppress(Exception):  # the error may be raised again here
            torch.cuda.synchronize(step.x.device)
        lines = str(error).strip().splitlines()
        raise NotCaptured(lines[0] if lines else type(error).__name__) from error


def _capture(step: Step) -> Callable[[], None]:
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # capturing needs a stream other than the default one
        for _ in range(CAPTURE_WARMUP):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    size = _size_of_gradients(step.net)
    step.net.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=aside):
        step()
    graph.replay()
    graph.replay()
    captured = _size_of_gradients(step.net)
    if not abs(captured - size) <= 1e-2 * size:
        raise NotCaptured(f"its gradients have norm {captured:.4g}, not {size:.4g}")
    return graph.replay


def _size_of_gradients(net: nn.Module) -> float:
    """Return the norm of all gradients together."""
    gradients = [p.grad.float().norm() for p in net.parameters() if p.grad is not None]
    return float(torch.stack(gradients).norm())
