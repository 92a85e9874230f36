"""The forward passes of Rate-based backpropagation (Yu et al., NeurIPS 2024, sections 4.1 and 4.2).

In step mode m the network is called once, with a pair: the spikes of all steps, and the rate, which carries
the graph. In step mode s it is called once per step without a graph, and each step adds its share to the
traces. One more call builds the graph of the rates from the traces alone, so memory does not grow with T.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointWrapper

from rbp.rate.dispatch.carry import by_rule
from rbp.rate.dispatch.in_place import constant_pair, in_each_segment
from rbp.rate.dispatch.pair import Pair, TimeAxis
from rbp.rate.errors import InputError, NoRuleError
from rbp.rate.layout.layout import Layout
from rbp.rate.layout.outputs import Called, check_step, steps_and_mean
from rbp.rate.memory.draws import random_state, set_random_state
from rbp.rate.memory.forward_pass import ForwardPass
from rbp.rate.memory.traces import is_constant
from rbp.rate.network.modules import Layer, is_leaf
from rbp.rate.network.own_state import own_state_kept, versions_of
from rbp.rate.network.patching import replaced
from rbp.rate.neurons.eligibility import NeuronRule
from rbp.rate.neurons.hidden_state import states_guarded
from rbp.rate.neurons.supported import how_to_register, refusal
from rbp.rate.passes.autograd_functions import checkpointed, in_pass
from rbp.rate.passes.containers import by_single_steps, goes_step_by_step
from rbp.rate.rules.base import Rule


class Settings(NamedTuple):
    """Options of a pass, see `rbp.forward`."""

    per_step: bool = False
    kernels: str = "plain"
    chunk: int | None = None
    segments: int = 1
    coupled: bool = True

    def run(self, T: int | None, **settings: bool) -> ForwardPass:
        """Return a new pass with these options."""
        chunk = None if settings.get("single_step") else self.chunk
        of_segments = {"k": self.segments, "coupled": self.coupled}
        return ForwardPass(T, rate=True, kernels=self.kernels, chunk=chunk, **of_segments, **settings)  # type: ignore[arg-type]


def multi_step(called: Called, x_seq: Tensor, layout: Layout, how: Settings) -> Tensor:
    """Run T steps at once (step mode m).

    Args:
        called: the network and how to call it.
        x_seq: the input [T, B, ...].
        layout: the network's layout, any but "static".
        how: options of the pass.

    Returns:
        The time mean of the output [B, K] with the graph of the rates, or with per_step the output of every
        step [T, B, K], each with that graph.

    Raises:
        InputError: the output has another shape or was not computed from the input, or per_step is set and
            the network takes the time mean itself.
        NoRuleError: the network has a layer or an operation without a rule.
    """
    T, B = x_seq.shape[:2]
    visible = layout.name != "step" or called.network.time_visible
    run = how.run(T, time_visible=visible)
    with _in_pass(called, run, layout, "m"):
        y = called(_sequence(x_seq, run, layout))
    return _finished(y, run, B, layout, how.per_step)


def static(called: Called, x: Tensor, steps: int | None, layout: Layout, how: Settings) -> Tensor:
    """Run a network that repeats an image itself. Plain tensors become pairs at the first neurons.

    Args:
        called: the network and how to call it.
        x: the image [B, ...].
        steps: T if given by the user; checked against the number of steps that the neurons receive.
        layout: the layout "static".
        how: options of the pass.

    Returns and raises the same as `multi_step`; also InputError if no neuron is called or T is wrong.
    """
    run = how.run(None, time_visible=True)
    with _in_pass(called, run, layout, "m"):
        y = called(x)
    if run.known_T is None:
        raise InputError("layout='static': none of the network's neurons was called")
    layout.check_steps(run.T, steps)
    return _finished(y, run, x.shape[0], layout, how.per_step)


def single_steps(called: Called, x_seq: Tensor, layout: Layout, how: Settings) -> Tensor:
    """Run one step after another, then once more for the graph of the rates (step mode s).

    Args, returned value and errors are those of `multi_step`.
    """
    (T, B), constant = x_seq.shape[:2], is_constant(x_seq)
    run = how.run(T, single_step=True, time_visible=layout.name != "step")
    before, versions, outputs = random_state(x_seq.device), versions_of(called.network), []
    with _in_pass(called, run, layout, "s"):
        with torch.no_grad():
            for x in x_seq.detach():
                step = Pair(layout.one_step(x).unsqueeze(0), None, run, constant=constant)
                y_step = _of_step(called(step), layout, B)  # needed in any case: adds to the traces
                outputs.append(y_step) if how.per_step else None
                run.next_pass()
                set_random_state(before)
        with own_state_kept(called.network, versions):  # this call is not a step
            mean = Pair(None, _rates(x_seq, run, layout.one_step), run, constant=constant)
            rates = _pair(called(mean)).rate
        rates = _each(rates, run, lambda rate: layout.output_of_step(rate, B))  # type: ignore[arg-type]
    _close(run)
    return _per_step(torch.cat(outputs), rates, run) if how.per_step else _time_mean(rates, run)


@contextmanager
def _in_pass(called: Called, run: ForwardPass, layout: Layout, step_mode: str) -> Iterator[None]:
    @contextmanager
    def enter() -> Iterator[None]:
        network = called.network
        guarded = states_guarded(found.module for found in network.layers if found.kind.rule is not None)
        with (
            layout.modes(network, step_mode),
            guarded,
            replaced(network, lambda found: _carrying(found, run)),
        ):
            yield

    with in_pass(called.network, run, enter):
        yield


def _sequence(x_seq: Tensor, run: ForwardPass, layout: Layout) -> Pair:
    """Return the network's input: a pair that shows [T, B, ...] or [B, T, ...], or hides the time axis."""
    if not run.time_visible:
        return Pair(x_seq.detach(), _rates(x_seq, run), run)
    dim = layout.time_dim
    if x_seq.shape[0] == 1:  # one step, shown as a sequence of length 1
        return Pair(x_seq.detach().unsqueeze(dim + 1), x_seq[0].unsqueeze(dim), run)
    rates = _rates(x_seq, run)
    rates = rates.unsqueeze(dim) if run.k == 1 else rates.movedim(0, dim)
    return Pair(layout.seen_by_network(x_seq.detach()), rates, run, TimeAxis(dim, 1))


def _rates(x_seq: Tensor, run: ForwardPass, as_seen: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    """Return the rate of x_seq [T, B, ...], [B, ...], or that of each of k segments, [k, B, ...].

    as_seen: what to make of each.
    """
    if is_constant(x_seq) or x_seq.shape[0] == 1:
        return in_each_segment(as_seen(x_seq[0]), run.k)
    if run.k == 1:
        return as_seen(x_seq.mean(0))
    return torch.stack([as_seen(rate) for rate in run.segments.means(x_seq)])


def _each(rates: Tensor, run: ForwardPass, f: Callable[[Tensor], Tensor]) -> Tensor:
    return f(rates) if run.k == 1 else torch.stack([f(rate) for rate in rates])


def _time_mean(rates: Tensor, run: ForwardPass) -> Tensor:
    """Return the time mean [B, K] of the rate, or of those of the segments [k, B, K]."""
    return rates if run.k == 1 else run.segments.mean(rates)


def _finished(y: Tensor, run: ForwardPass, batch: int, layout: Layout, per_step: bool) -> Tensor:
    """Close the pass and return the time mean, or every step's output, of what the network returned."""
    _close(run)
    if not isinstance(y, Pair):
        if not run.time_visible:
            _pair(y)
        return steps_and_mean(y, run.T, batch, per_step, layout.time_dim)
    assert y.rate is not None
    if y.time is None and not run.time_visible:
        check_step(y.shape, batch)
        return _per_step(y.spikes, y.rate, run) if per_step else _time_mean(y.rate, run)
    if y.time is None:  # T=1: the one step, or its time mean
        return steps_and_mean(y.rate, 1, batch, per_step, layout.time_dim)
    if y.shape[y.time.dim] != run.T:
        raise InputError(f"the network returned {tuple(y.shape)}, with time folded into another axis")
    dim = y.time.dim
    rate = y.rate.squeeze(dim) if run.k == 1 else y.rate.movedim(dim, 0)
    spikes = y.spikes.movedim(dim, 0)  # type: ignore[union-attr]
    check_step(spikes.shape[1:], batch)
    return _per_step(spikes, rate, run) if per_step else _time_mean(rate, run)


def _close(run: ForwardPass) -> None:
    run.drafts.publish()
    run.over = True


def _per_step(y_seq: Any, rates: Tensor, run: ForwardPass) -> Tensor:
    """Return every step's output [T, B, K] with the graph of its rate, [B, K] or of k segments [k, B, K]."""
    if run.k > 1:
        rates = rates[[run.segments.of_step(t) for t in range(run.T)]]
    return y_seq + (rates - rates.detach())


def _of_step(y: Any, layout: Layout, batch: int) -> Tensor:
    """Return the output of one step as [1, B, K], whether or not the network returns a time axis."""
    pair = _pair(y)
    assert pair.spikes is not None
    return layout.output_of_step(pair.spikes[0], batch).unsqueeze(0)


def _pair(y: Any) -> Pair:
    if not isinstance(y, Pair):
        raise InputError(f"the network returned {type(y).__name__}, not one tensor computed from its input")
    return y


def _carrying(found: Layer, run: ForwardPass) -> Callable:
    """Return the forward of a module on pairs: by its rule if it has one, else its own code."""
    module, rule = found.module, found.kind.rule
    own = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        try:
            inputs = [a for a in (*args, *kwargs.values()) if isinstance(a, Pair)]
            if isinstance(rule, NeuronRule) and not inputs and args and isinstance(args[0], Tensor):
                inputs = [_lifted(module, args[0], run)]
            if not inputs:
                return own(*args, **kwargs)
            if rule is not None:
                return _by_rule(rule.for_layer(module), module, inputs, args, kwargs)
            if isinstance(module, CheckpointWrapper):
                return checkpointed(module, args, kwargs, rate=True)
            if (why := refusal(module)) is not None:
                raise NoRuleError(why)
            if inputs[0].time is not None and goes_step_by_step(module):
                return by_single_steps(module, inputs[0])
            return own(*args, **kwargs)
        except NoRuleError as error:
            raise error if error.path is not None else no_rule(found, str(error)) from None

    return forward


def _lifted(module: Any, x: Tensor, run: ForwardPass) -> Pair:
    """Return a plain tensor that reaches a neuron as a pair.

    The tensor is a sequence if the neuron receives all steps at once, else one step, constant in time.
    """
    if run.single_step:
        graph = torch.is_grad_enabled()  # off in the calls for single steps
        rate = in_each_segment(x, run.k) if graph else None
        return Pair(None if graph else x.unsqueeze(0), rate, run, constant=True)
    if not run.time_visible:
        return constant_pair(x, Pair(x.detach().expand(run.T, *x.shape), x, run))
    if isinstance(module, base.StepModule) and module.step_mode == "s":
        raise NoRuleError("the network goes through the time steps itself, which leaves rate mode no rate")
    if not run.agrees_on_T(x.shape[0]):
        raise NoRuleError(f"it is shown {x.shape[0]} steps, where T={run.T}")
    if run.k > run.T:
        raise NoRuleError(f"it is shown {run.T} steps, which cannot be cut into segments={run.k}")
    if run.T == 1:
        return Pair(x.detach().unsqueeze(0), x, run)
    rates = x.mean(0, keepdim=True) if run.k == 1 else run.segments.means(x)
    return Pair(x.detach(), rates, run, TimeAxis())


def _by_rule(rule: Rule, module: nn.Module, inputs: list[Pair], args: tuple, kwargs: dict) -> Pair:
    if _says_more(module, args, kwargs):
        raise NoRuleError("its rule takes one input, and it was called with more arguments")
    if isinstance(rule, NeuronRule) and inputs[0].run.calls_of(module) > 0:
        raise NoRuleError(
            "this neuron is called twice in one forward pass: each place needs a neuron of its own, and a "
            "network that goes through the time steps itself trains by BPTT, with layout='static' or 'TB'"
        )
    return by_rule(rule, module, inputs[0], module)


def _says_more(module: nn.Module, args: tuple, kwargs: dict) -> bool:
    """Whether a layer is called with more than its input and defaults of its forward.

    None and False count as defaults: some networks call every layer with a flag that few take.
    """
    if len(args) + len(kwargs) == 1:
        return False
    parameters = inspect.signature(type(module).forward).parameters
    pairs = [*((None, a) for a in args), *kwargs.items()]
    others = [(name, value) for name, value in pairs if value is not None and value is not False]
    defaults = [name for name, v in others if name in parameters and _is_default(v, parameters[name].default)]
    return len(others) - len(defaults) > 1


def _is_default(value: Any, default: Any) -> bool:
    return not isinstance(value, Tensor) and bool(value == default)


def no_rule(found: Layer, why: str) -> NoRuleError:
    """Return the error for a layer without a rule.

    Args:
        found: the layer.
        why: the reason, for the message.
    """
    module = found.module
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    may_be_neuron = found.kind.written_by_user and not found.kind.is_neuron and is_leaf(module)
    error = NoRuleError(
        f"rate mode has no rule for {found.path or 'the network'} ({kind}): {why}. Give its layer type one "
        "with rbp.rate.register(rule, LayerType), where rule is a subclass of rbp.rate.Rule, or use "
        f"grad_mode='bptt'.{f' {how_to_register(module)}.' if may_be_neuron else ''}"
    )
    error.path = found.path
    return error
