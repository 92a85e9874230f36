"""`rbp.backward`: one training step's forward and backward, in every gradient mode."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from rbp.gradients.objective import Around, Loss, Step, mean_of, outside_autocast, scaled, value_of, wide
from rbp.gradients.online import ONLINE, choice, run
from rbp.rate.api import forward
from rbp.rate.errors import InputError
from rbp.rate.layout.outputs import Output

MODES = ("bptt", "rate", *ONLINE)


def backward(
    net: nn.Module,
    x: Tensor,
    loss: Loss,
    *,
    grad_mode: str,
    step_mode: str | None = None,
    over: str | None = None,
    T: int | None = None,
    layout: str | None = None,
    output: Output = None,
    kwargs: Mapping[str, Any] | None = None,
    kernels: str = "auto",
    chunk: int | None = None,
    segments: int = 1,
    coupled: bool = True,
    backprop_steps: int | None = None,
    rescale: bool = False,
    generator: torch.Generator | None = None,
    scale: float = 1.0,
    around: Around = nullcontext,
) -> Step:
    """Run the forward and backward pass of one training step; gradients are added to `.grad`.

    The network runs under the caller's autocast; the loss and the backward pass run outside of it, on outputs
    in float32.

    Args:
        net: As in `rbp.forward`. With DistributedDataParallel, gradients are averaged once, in the last
            backward pass; within the caller's `no_sync()` not at all.
        x: As x_seq in `rbp.forward`: [T, B, ...], or with T=, a static batch [B, ...].
        loss: Maps outputs [B, K] to a scalar.
        grad_mode: How gradients are computed.

            - "bptt": backpropagation through time.
            - "rate": Rate-based backpropagation.
            - "sltt": spatial learning through time (Meng et al., ICCV 2023). Each step is differentiated by
              itself, as the state that it inherits is cut from the graph.
            - "ottt": online training through time (Xiao et al., NeurIPS 2022), its variant A: gradients are
              added up over the steps. As "sltt", but weights see the trace of their input's past spikes; see
              rbp.gradients.online.

            The online modes "sltt" and "ottt" go step by step, so that memory is that of one step for any T.
        step_mode: "m" or "s"; None: "s" for the online modes, which have no other, else "m".
        over: "mean": the loss is that of the time mean of the outputs. "steps": it is the mean over time of
            each step's loss, the only one for the online modes. None: "steps" for the online modes, else
            "mean". In rate mode with "steps", each step's output has the graph of its segment's rate: the
            gradients of the steps' losses with respect to their outputs are added up for each segment, and go
            back through its rate.
        T, layout, output, kwargs, kernels, chunk, segments, coupled: As in `rbp.forward`. Segments are of
            rate mode alone.
        backprop_steps: For the online modes, the number K of steps that are differentiated (SLTT-K), drawn
            anew at each call. The others run without a graph; normalisation still updates its statistics.
            None: all of them.
        rescale: Whether to multiply the loss by T/K in the backward pass, so that the gradient's expectation
            is that of all steps. The authors do not, and divide by T.
        generator: A generator on the CPU that the K steps are drawn from; None: torch's global one. Several
            ranks need one in the same state on each.
        scale: Factor of the loss in the backward pass; `Step.loss` is without it.
        around: Makes the context in which a graph is made and differentiated, to measure it: once for all
            steps, or with an online mode for each step.

    Returns:
        The loss over all T steps, and the time mean of the outputs.

    Raises:
        InputError: As in `rbp.forward`. Also for an online mode with step mode "m", `over="mean"`, segments,
            or a network that cannot take single steps; for `backprop_steps` below 1 or above T; for a loss
            that returns no scalar; and without gradients (`torch.no_grad()`).
        NoRuleError: As in `rbp.forward`. Also if OTTT does not know the leak of a neuron, or meets an
            operation that hides weights from it.

    Note:
        Everything that the pass changes is restored as by `rbp.forward`, even after an exception. If an
        online mode fails at a later step, the gradients of the steps before are in `.grad`.
    """
    if grad_mode not in MODES:
        raise InputError(f"grad_mode={grad_mode!r}: one of {', '.join(map(repr, MODES))}")
    if over not in (None, "mean", "steps"):
        raise InputError(
            f"over={over!r}: 'mean' (loss of the time mean) or 'steps' (mean of the steps' losses)"
        )
    if not torch.is_grad_enabled():
        raise InputError("rbp.backward within torch.no_grad(): call it where gradients are enabled")
    shown: dict[str, Any] = {"T": T, "layout": layout, "output": output, "kwargs": kwargs}
    if grad_mode in ONLINE:
        _refuse_contradictions(grad_mode, step_mode, over, segments, coupled)
        chosen = choice(backprop_steps, rescale, generator)
        return run(net, x, loss, by=grad_mode, chosen=chosen, scale=scale, around=around, **shown)
    _refuse_of_online(grad_mode, backprop_steps, rescale)
    how: dict[str, Any] = {"kernels": kernels, "chunk": chunk, "segments": segments, "coupled": coupled}
    how |= {"step_mode": step_mode or "m", "grad_mode": grad_mode, "per_step": over == "steps"}
    with around():
        y = forward(net, x, **shown, **how)
        with outside_autocast(y.device):
            return _differentiated(wide(y), loss, scale, per_step=over == "steps")


def _differentiated(y: Tensor, loss: Loss, scale: float, per_step: bool) -> Step:
    """Differentiate the loss of the time mean [B, K]; with per_step the mean of the steps', [T, B, K]."""
    mean = (y.mean(0) if per_step else y).detach().clone()  # before the loss, which may change what it gets
    value = mean_of([value_of(loss, y_step) for y_step in y]) if per_step else value_of(loss, y)
    scaled(value, scale).backward()
    return Step(value.detach(), mean)


def _refuse_contradictions(
    grad_mode: str, step_mode: str | None, over: str | None, segments: Any, coupled: Any
) -> None:
    """Raise InputError for arguments that an online mode has no use for."""
    if step_mode not in (None, "s"):
        raise InputError(
            f"step_mode={step_mode!r} with grad_mode={grad_mode!r}: it goes step by step; leave step_mode out"
            ", or say 's'"
        )
    if over == "mean":
        raise InputError(
            f"over='mean' with grad_mode={grad_mode!r}: it differentiates each step before the next one, and "
            "has no time mean until then; leave over out, or say 'steps'"
        )
    for name, value, usual in (("segments", segments, 1), ("coupled", coupled, True)):
        if value != usual:
            raise InputError(
                f"{name}={value!r} with grad_mode={grad_mode!r}: segments of time are of grad_mode='rate'; "
                f"leave {name} out"
            )


def _refuse_of_online(grad_mode: str, backprop_steps: Any, rescale: Any) -> None:
    for name, value, usual in (("backprop_steps", backprop_steps, None), ("rescale", rescale, False)):
        if value != usual:
            raise InputError(
                f"{name}={value!r} with grad_mode={grad_mode!r}: it is of the online modes, "
                f"{' and '.join(map(repr, ONLINE))}; leave it out"
            )
