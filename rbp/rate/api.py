"""`rbp.forward`: run a spiking network over T steps, with gradients by BPTT or rate-based backpropagation.

The passes themselves are in rbp.rate.passes; the arguments and the layout are read by rbp.rate.arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from rbp.rate.arguments import from_rest, is_whole, read
from rbp.rate.distributed import in_one_call
from rbp.rate.dry_run.state_between_steps import SAME, compare_steps, refuse_difference
from rbp.rate.errors import InputError, NoRuleError
from rbp.rate.layout.layout import Layout
from rbp.rate.layout.outputs import Called, Output
from rbp.rate.network.modules import Network, check_not_compiled
from rbp.rate.network.own_state import tensors_left
from rbp.rate.neurons import compiled
from rbp.rate.neurons.supported import refusal
from rbp.rate.passes import bptt, rate


def forward(
    net: nn.Module,
    x_seq: Tensor,
    *,
    step_mode: str = "m",
    grad_mode: str = "rate",
    T: int | None = None,
    per_step: bool = False,
    layout: str | None = None,
    output: Output = None,
    kwargs: Mapping[str, Any] | None = None,
    kernels: str = "auto",
    chunk: int | None = None,
    segments: int = 1,
    coupled: bool = True,
) -> Tensor:
    """Run a spiking network over T time steps and return the time mean of its output.

    The result is ready for `.backward()`, with the gradient of BPTT or of rate-based backpropagation.

    Args:
        net: Network of torch layers (or SpikingJelly's wrappers) and SpikingJelly neurons. It may be wrapped
            in DistributedDataParallel.
        x_seq: Input [T, B, ...], time first. `x.expand(T, *x.shape)` shows a static batch x [B, ...] at every
            step without copying it. With layout "static", the batch itself, [B, ...].
        step_mode: "m" runs all T steps at once, with batch normalisation over time and batch; "s" runs them
            one by one.
        grad_mode: "bptt" or "rate".
        T: Number of steps to show a static batch for, if x_seq is one, [B, ...]. If x_seq is a sequence, the
            length it must have; rbp.rate.layout.time_first.as_sequence tells how the two are distinguished.
            With layout "static", the number of steps the network must repeat its input for.
        per_step: Return the output of every step. In rate mode each has the graph of the rate.
        layout: How the network handles time. None detects it, and raises InputError if it is ambiguous.

            - "step": the network maps one step [B, ...] to [B, K]. In step mode m a network of torch layers
              still sees [B, ...]; one with SpikingJelly's wrappers sees [T, B, ...].
            - "TB": it maps [T, B, ...] to [T, B, K], or to [B, K] if it takes the time mean itself.
            - "BT": as "TB" with [B, T, ...]; the engine transposes the input.
            - "static": it takes a batch [B, ...] and repeats it T times itself; step mode m only.

            With "TB", "BT" and "static" the step modes of the layers are left unchanged; in step mode s the
            network is then called with sequences of one step.
        output: Which tensor to use if the network returns a tuple, dict or object: an index, a key or
            attribute name, or a function of the returned value.
        kwargs: Keyword arguments passed to the network at every call.
        kernels: In rate mode, "plain" (torch's own kernels, one by one), "compiled" (the neurons' scan fused
            by torch.compile, which takes tens of seconds for the first step of a network; falls back to plain
            with a warning if compilation fails) or "auto" (compiled on a GPU, plain on a CPU).
        chunk: In rate mode and step mode m, the number of steps whose activations are in memory at once, so
            that the memory of a layer does not grow with T. This costs one more forward pass (see
            rbp.rate.memory.chunking). None: all T.
        segments: In rate mode, the number k of segments that the T steps are cut into, each with its own
            rate: 1 is Rate-based backpropagation, T with `coupled` is BPTT, and between them is BPTT with the
            gradient replaced by its mean over each segment after every layer. Memory is affine in k. This is
            an extension of this project and not in the paper.
        coupled: Whether segments act on later ones through the membrane potential.

    Returns:
        The time mean of the output, [B, K]; with per_step the output of every step, [T, B, K].

    Raises:
        InputError: For an unknown mode, an empty batch, a missing time axis, a T below 1 or different from
            the length of x_seq, a network without spiking neurons in rate mode, a DataParallel wrapper, or an
            output that is not one tensor.
        NoRuleError: If rate mode meets a layer, neuron or operation that it has no rule for. The message
            names the path of the module.

    Note:
        The neurons are reset before and after the call. Everything else that the engine changes for a pass is
        restored, even after an exception; running statistics updated before the exception are restored in
        rate mode, but in BPTT stay updated, as in torch.

        Without gradients (`torch.no_grad()`) both gradient modes run the same plain forward pass.

        Dropout layers keep one mask for all steps, and in rate mode so does F.dropout. With layout "step" any
        other random numbers that the network draws are also the same at every step.

        In rate mode, forward hooks receive `Pair`s in place of tensors, and in step mode s run T + 1 times.
        In step mode m they receive `Pair`s in BPTT too if the layers are torch's own and the layout is
        "step". Full backward hooks get the gradient of the rate, [B, ...], in rate mode.

        `torch.utils.checkpoint` recomputes with the layers as they were during the pass. In rate mode it has
        no effect, as nothing that it would drop grows with T.
    """
    _check_grad_mode(grad_mode)
    _check_chunk(chunk)
    _check_segments(segments, coupled, grad_mode, chunk)
    _check_kernels(kernels)
    called, seen, x = read(net, x_seq, step_mode=step_mode, T=T, layout=layout, output=output, kwargs=kwargs)
    network = called.network
    by_rate = grad_mode == "rate" and torch.is_grad_enabled()
    if seen.name != "static" and segments > x.shape[0]:
        raise InputError(f"segments={segments}: a whole number from 1 to T={x.shape[0]} is needed")
    if grad_mode == "rate":
        _check_for_rate(network, x, seen)

    how = rate.Settings(per_step, kernels, chunk, segments, coupled)

    def run(x: Tensor) -> Tensor:
        with from_rest(network):
            if by_rate:
                with _state_refused(called, x, seen, step_mode, by_rate):
                    return _by_rate(called, x, T, seen, step_mode, how)
            one_call = seen.name == "step" and step_mode == "m"  # for all steps
            with _state_refused(called, x, seen, step_mode, by_rate) if one_call else nullcontext():
                return _by_bptt(called, x, T, seen, step_mode, per_step)

    return in_one_call(net, run, x)


@contextmanager
def _state_refused(
    called: Called, x: Tensor, layout: Layout, step_mode: str, by_rate: bool
) -> Iterator[None]:
    """Refuse a pass that stands for several calls of the network, if they depend on each other.

    It is refused at its end, as its own errors say more: which layer has no rule.
    """
    network, answer, loops = called.network, SAME, not by_rate and not called.network.time_visible
    one_call = step_mode == "m" and (layout.name != "step" or x.shape[0] == 1)  # and so a loop's only one
    if not one_call:
        visible = network.time_visible and layout.name == "step"
        given = x if visible and step_mode == "m" else layout.one_step(x[0])
        batch_dim = 1 if layout.name == "TB" or given is x else 0
        mode = step_mode if visible else None
        answer = compare_steps(network, given, called.as_other, called.kwargs, batch_dim, mode, loops)
    with tensors_left(network, refused=not answer.tried, loops=loops):
        yield
        refuse_difference(network, answer)


def _by_rate(
    called: Called, x: Tensor, T: int | None, layout: Layout, step_mode: str, how: rate.Settings
) -> Tensor:
    if layout.name == "static":
        return rate.static(called, x, T, layout, how)
    run = rate.multi_step if step_mode == "m" else rate.single_steps
    return run(called, x, layout, how)


def _by_bptt(
    called: Called, x: Tensor, T: int | None, layout: Layout, step_mode: str, per_step: bool
) -> Tensor:
    if layout.name == "static":
        return bptt.as_written(called, x, T, x.shape[0], layout, per_step)
    run = bptt.multi_step if step_mode == "m" else bptt.single_steps
    return run(called, x, layout, per_step)


def _check_grad_mode(grad_mode: Any) -> None:
    if grad_mode in ("sltt", "ottt"):
        raise InputError(
            f"grad_mode={grad_mode!r}: goes forward and backward at every step, so that there is no forward "
            "pass alone: use rbp.backward, or 'bptt' or 'rate'"
        )
    if grad_mode not in ("bptt", "rate"):
        raise InputError(f"grad_mode={grad_mode!r}: 'bptt' or 'rate'")


def _check_chunk(chunk: Any) -> None:
    if chunk is not None and not is_whole(chunk):
        raise InputError(f"chunk={chunk!r}: a whole number is needed")
    if chunk is not None and chunk < 1:
        raise InputError(f"chunk={chunk}: at least one step at a time, or None for all of them")


def _check_segments(segments: Any, coupled: Any, grad_mode: str, chunk: int | None) -> None:
    if not is_whole(segments) or segments < 1:
        raise InputError(f"segments={segments!r}: a whole number from 1 to T is needed")
    if not isinstance(coupled, bool):
        raise InputError(f"coupled={coupled!r}: True or False")
    if segments > 1 and grad_mode == "bptt":
        raise InputError(f"segments={segments}: BPTT has no segments of time; use grad_mode='rate'")
    if segments > 1 and chunk is not None:
        raise InputError(f"segments={segments} with chunk={chunk}: only one of them can be used")


def _check_kernels(kernels: str) -> None:
    if kernels not in compiled.CHOICES:
        raise InputError(f"kernels={kernels!r}: one of {', '.join(repr(k) for k in compiled.CHOICES)}")


def _check_for_rate(network: Network, x: Tensor, layout: Layout) -> None:
    check_not_compiled(network)
    if not x.is_floating_point():
        raise InputError(f"x_seq is of {x.dtype}: a rate is a mean, which takes floating-point values")
    if not network.neurons:
        raise InputError("net has no spiking neurons (SpikingJelly's), so there is no rate to propagate")
    for neuron in network.neurons:
        if neuron.kind.rule is None and (why := refusal(neuron.module)) is not None:
            raise rate.no_rule(neuron, why)
    if layout.name != "step" and network.neuron_modes == {"s"}:
        raise NoRuleError(
            "the network's neurons are in step mode 's': it goes through the time steps itself, which leaves "
            "rate mode no rate. Use grad_mode='bptt', or write it for all steps at once, with "
            "functional.set_step_mode(net, 'm')"
        )
