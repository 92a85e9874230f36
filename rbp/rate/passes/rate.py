"""Rate-based backpropagation in one pass (Yu et al., NeurIPS 2024, sections 4.1 and 4.2).

Step mode m: the network is called once, with a pair of the spikes of all steps and the rate. Step mode s: it
is called for each step without a graph, each leaving its share in the traces, and once more for the graph of
the rates, which needs nothing but the traces: so memory does not grow with T.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from rbp.rate.dispatch.carry import by_rule, hide, show
from rbp.rate.dispatch.pair import Pair
from rbp.rate.errors import InputError, NoRuleError
from rbp.rate.memory.traces import Run, is_constant
from rbp.rate.neurons.integrate_and_fire import NeuronRule
from rbp.rate.neurons.supported import refusal
from rbp.rate.passes.bptt import NO_STEPS, shows_time
from rbp.rate.passes.patching import SEQUENTIAL, replaced, step_modes
from rbp.rate.rules.base import Rule, find_rule


def multi_step(
    net: nn.Module, x_seq: Tensor, per_step: bool, kernels: str, chunk: int | None
) -> tuple[Tensor | None, Tensor]:
    """With per_step every step's output [T, B, K], without a graph; their time mean [B, K], with the rates'
    graph.

    A network that shows time and takes the time mean itself has no output for each step: None.
    """
    run, shown = Run(x_seq.shape[0], rate=True, kernels=kernels, chunk=chunk), shows_time(net)
    rate = _mean_step(x_seq)
    x = Pair(x_seq.detach(), rate.unsqueeze(0) if shown else rate, run, shown)
    with ExitStack() as stack:
        if shown:
            stack.enter_context(step_modes(net, "m"))
        stack.enter_context(replaced(net, lambda path, m: _carrying(path, m, run)))
        y = net(x)
    if shown and isinstance(y, Tensor):
        if per_step:
            raise InputError(NO_STEPS)
        run.drafts.publish()
        return None, y
    y = hide(_pair(y), sequence=True)
    assert y.rate is not None
    run.drafts.publish()
    return y.spikes if per_step else None, y.rate


def single_steps(net: nn.Module, x_seq: Tensor, per_step: bool, kernels: str) -> tuple[Tensor | None, Tensor]:
    """As multi_step, one step after another; the steps' outputs only with per_step."""
    run = Run(x_seq.shape[0], rate=True, keep=True, kernels=kernels)
    outputs = []
    with step_modes(net, "s"), replaced(net, lambda path, m: _carrying(path, m, run)):
        with torch.no_grad():
            for x in x_seq.detach().split(1):
                y = _pair(net(Pair(x, None, run)))
                y_step = y.spikes  # read in any case: its time mean is the output
                outputs.append(y_step) if per_step else None
                run.next_pass()
        y = _pair(net(Pair(None, _mean_step(x_seq), run)))
    assert y.rate is not None
    run.drafts.publish()
    return torch.cat(outputs) if per_step else None, y.rate  # type: ignore[arg-type]


def _mean_step(x_seq: Tensor) -> Tensor:
    return x_seq[0] if is_constant(x_seq) else x_seq.mean(0)


def _pair(y: Any) -> Pair:
    if not isinstance(y, Pair):
        raise InputError(f"the network returned {type(y).__name__}, not one tensor computed from its input")
    return y


def _carrying(path: str, module: nn.Module, run: Run) -> Callable:
    """A module's forward on pairs: by its rule, or its own with pairs in place of tensors."""
    own, rule = module.forward, find_rule(module)

    def forward(*args: Any, **kwargs: Any) -> Any:
        inputs = [a for a in (*args, *kwargs.values()) if isinstance(a, Pair)]
        try:
            if rule is not None and inputs:
                return _by_rule(rule, module, inputs, len(args) + len(kwargs), run)
            if inputs and (why := refusal(module)) is not None:
                raise NoRuleError(why)
            if isinstance(module, SEQUENTIAL) and inputs and inputs[0].shown:
                return show(nn.Sequential.forward(module, hide(inputs[0], True)), inputs[0], True)
            return own(*args, **kwargs)
        except NoRuleError as error:
            raise error if error.path is not None else no_rule(path, module, str(error)) from None

    return forward


def _by_rule(rule: Rule, module: nn.Module, inputs: list[Pair], n_inputs: int, run: Run) -> Pair:
    if n_inputs > 1:
        raise NoRuleError("its rule takes one input, and it was called with more")
    trace, number = run.trace(module)
    if number > 0 and isinstance(rule, NeuronRule):
        raise NoRuleError(
            "this neuron is called twice in one forward pass: each place needs a neuron of its own"
        )
    return by_rule(rule, module, inputs[0], trace)


def no_rule(path: str, module: nn.Module, why: str) -> NoRuleError:
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    error = NoRuleError(
        f"rate mode has no rule for {path or 'the network'} ({kind}): {why}. Give its layer type one with "
        "rbp.rate.register(rule, LayerType), where rule has the methods of rbp.rate.Rule, "
        "or use grad_mode='bptt'."
    )
    error.path = path
    return error
