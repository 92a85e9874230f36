"""Backpropagation through time, the baseline of Rate-based backpropagation; also any pass without gradients.

The network's own layers run on T steps, at once or one by one. The forward of some is replaced for the pass:
dropout keeps one mask for all steps, neurons compute in float32 under autocast, and layers that do not know
the time axis get all steps folded into the batch, or one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointWrapper
from torch.utils._pytree import tree_map

from rbp.rate.dispatch.carry import by_rule, takes_sequence
from rbp.rate.dispatch.in_place import constant_pair
from rbp.rate.dispatch.join import stack_steps
from rbp.rate.dispatch.pair import Pair
from rbp.rate.errors import InputError
from rbp.rate.layout.layout import Layout
from rbp.rate.layout.outputs import Called, check_step, steps_and_mean
from rbp.rate.memory.draws import at_each_step, random_state, set_random_state
from rbp.rate.memory.folding import fold_time
from rbp.rate.memory.forward_pass import ForwardPass
from rbp.rate.network.modules import Layer, check_not_compiled, is_leaf
from rbp.rate.network.overrides import loops_over_steps
from rbp.rate.network.patching import neurons_reset, replaced, step_modes
from rbp.rate.neurons.hidden_state import states_guarded
from rbp.rate.neurons.memories import at_rest, lent, over_steps
from rbp.rate.passes.autograd_functions import checkpointed, in_pass
from rbp.rate.rules.dropout import DROPOUT, DropoutRule, DropoutTrace
from rbp.rate.rules.sync_batchnorm import sync_batch_norm

Forward = Callable[..., Any]


def multi_step(called: Called, x_seq: Tensor, layout: Layout, per_step: bool) -> Tensor:
    """Run T steps at once (step mode m).

    Args:
        called: the network and how to call it.
        x_seq: the input [T, B, ...].
        layout: the network's layout, any but "static".
        per_step: return every step's output instead of the time mean.

    Returns:
        The time mean of the output [B, K], or with per_step the output of every step [T, B, K].

    Raises:
        InputError: the output has another shape, or per_step is set and the network takes the time mean
            itself.
    """
    network, (T, B) = called.network, x_seq.shape[:2]
    if layout.name != "step":
        return as_written(called, layout.seen_by_network(x_seq), T, B, layout, per_step)
    run = ForwardPass(T, rate=False, time_visible=network.time_visible, checks_calls=layout.found)
    if not run.time_visible:
        check_not_compiled(network)
    plain = partial(_plain_over_time, run, B, 0)
    adapt, x = (
        (partial(_adapted, plain), x_seq) if run.time_visible else (_on_every_step, Pair(x_seq, None, run))
    )

    def enter() -> AbstractContextManager[Any]:
        return _together(
            step_modes(network, "m"),
            replaced(network, lambda found: adapt(found, run)),
            neurons_reset(network),
            nullcontext() if run.time_visible else states_guarded(found.module for found in network.layers),
        )

    with in_pass(network, run, enter):
        y = called(x)
    if isinstance(y, Pair):
        assert y.spikes is not None
        check_step(y.shape, B)
        return y.spikes if per_step else y.spikes.mean(0)
    return steps_and_mean(y, T, B, per_step)


def as_written(
    called: Called, x: Tensor, steps: int | None, batch: int, layout: Layout, per_step: bool
) -> Tensor:
    """Run the network's own forward on an input in its own layout.

    Args:
        called: the network and how to call it.
        x: the input in the network's layout: [T, B, ...], [B, T, ...] or an image [B, ...].
        steps: T, checked against the number of steps that the first neuron receives; None if unknown.
        batch: the batch size B.
        layout: the network's layout, any but "step".
        per_step: return every step's output instead of the time mean.

    Returns:
        The time mean of the output [B, K], or with per_step the output of every step [T, B, K].

    Raises:
        InputError: the number of steps or the shape of the output is wrong, or per_step is set and the
            network takes the time mean itself.
    """
    network, run = called.network, ForwardPass(steps, rate=False, time_visible=True)
    plain = partial(_plain_over_time, run, batch, layout.time_dim)

    def enter() -> AbstractContextManager[Any]:
        return _together(replaced(network, lambda found: _watched(plain, found, run)), neurons_reset(network))

    with in_pass(network, run, enter):
        y = called(x)
    layout.check_steps(run.first_shown, steps)
    return steps_and_mean(y, run.first_shown or steps or 1, batch, per_step, layout.time_dim)


def single_steps(called: Called, x_seq: Tensor, layout: Layout, per_step: bool) -> Tensor:
    """Run one step after another (step mode s), each with the same random numbers.

    Args and returned value are those of `multi_step`.
    """
    with stepping(called, x_seq, layout) as step:
        outputs = [step(x) for x in x_seq]
    if per_step:
        return torch.stack(outputs)
    return sum(outputs[1:], outputs[0]) / len(x_seq)


def adapted_step(found: Layer, run: ForwardPass) -> Forward | None:
    """Return the replacement for a layer's forward on one step [B, ...]; None to keep its own."""
    return _adapted(_in_float32, found, run)


@contextmanager
def stepping(
    called: Called,
    x_seq: Tensor,
    layout: Layout,
    adapt: Callable[[Layer, ForwardPass], Forward | None] = adapted_step,
) -> Iterator[Callable[[Tensor], Tensor]]:
    """Prepare the network for single steps inside the block.

    Args:
        called: the network and how to call it.
        x_seq: the input [T, B, ...]; only its device and batch size are read.
        layout: the network's layout, any but "static".
        adapt: makes the replacement for a layer's forward.

    Yields:
        A function that runs one more step, from the input [B, ...] to the output [B, K]. The network draws
        the same random numbers in each.
    """
    network, B = called.network, x_seq.shape[1]
    run = ForwardPass(1, rate=False, single_step=True, checks_calls=layout.found)
    before = random_state(x_seq.device)

    def enter() -> AbstractContextManager[Any]:
        return _together(layout.modes(network, "s"), replaced(network, lambda found: adapt(found, run)))

    def step(x: Tensor) -> Tensor:
        if run.passes:
            set_random_state(before)
        run.next_pass()
        return layout.output_of_step(called(layout.one_step(x)), B)

    with in_pass(network, run, enter):
        yield step


@contextmanager
def _together(*contexts: AbstractContextManager[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def _watched(plain: Callable[[Forward, Tensor], Tensor], found: Layer, run: ForwardPass) -> Forward | None:
    """Return what `_adapted` does, but with neurons that also record how many steps they receive."""
    module = found.module
    adapted, own = _adapted(plain, found, run), module.forward
    if not isinstance(module, base.MemoryModule):
        return adapted

    def forward(x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, Tensor):
            run.note_steps(module, x.shape[0] if module.step_mode == "m" else None)
        return (adapted or own)(x, *args, **kwargs)

    return forward


def _adapted(plain: Callable[[Forward, Tensor], Tensor], found: Layer, run: ForwardPass) -> Forward | None:
    """Return a replacement for the layer's forward on tensors [B, ...] or [T, B, ...]; None to keep its own.

    plain: runs a neuron that is a plain nn.Module, given its own forward and the input.
    """
    module: Any = found.module
    own = module.forward
    if found.kind.is_plain_neuron:
        return lambda x: plain(own, x)
    if isinstance(module, base.MemoryModule):
        return lambda x, *args, **kwargs: _fire(module, own, run, x, *args, **kwargs)
    if isinstance(module, DROPOUT):
        return lambda x: _one_mask(module, x, run)
    if isinstance(module, nn.SyncBatchNorm):
        return lambda x: _synchronised(module, x, run)
    return None


def _plain_over_time(run: ForwardPass, batch: int, time_dim: int, own: Forward, x: Tensor) -> Tensor:
    """Run a plain neuron's forward, which takes one step [B, ...], on [T, B, ...] or [T*B, ...]."""
    if run.known_T is None or time_dim != 0:
        raise InputError(
            "a neuron that is a plain nn.Module, in a network that is run as written: BPTT knows its steps "
            "with layout='TB', or with 'static' and T=; or make it a subclass of SpikingJelly's BaseNode"
        )
    folded = x.shape[0] != run.T or (batch == 1 and x.shape[1:2] != (1,))
    if folded:
        return over_steps(own, x.unflatten(0, (run.T, -1))).flatten(0, 1)
    return over_steps(own, x)


def _fire(
    module: base.MemoryModule, own: Forward, run: ForwardPass, x: Any, *args: Any, **kwargs: Any
) -> Any:
    if run.single_step and run.checkpoint_depth:
        raise InputError(
            "torch.utils.checkpoint around a neuron in step mode 's' runs it again without the steps before: "
            "checkpoint the layers without it, or use step_mode='m'"
        )
    once = run.checks_calls and (run.single_step or module.step_mode == "m")
    if once and run.count_call(module) > 0:
        raise called_again(module)
    return _in_float32(_with_one_draw(module, own), x, *args, **kwargs)


def called_again(module: nn.Module) -> InputError:
    """Return the error for a network, inferred to map single steps, that calls a neuron more than once."""
    return InputError(
        f"a neuron ({type(module).__name__}) is called more than once in one time step: a network that goes "
        "through the time steps itself needs layout='static' (given one image) or 'TB' (given [T, B, ...]); "
        "layout='step' says that it means one step"
    )


def _in_float32(own: Forward, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a neuron in float32 on a low-precision input (autocast), to keep its membrane potential float32."""
    if not isinstance(x, Tensor) or x.dtype not in (torch.bfloat16, torch.float16):
        return own(x, *args, **kwargs)
    y = own(x.float(), *args, **kwargs)
    return y.to(x.dtype) if isinstance(y, Tensor) else y


def _with_one_draw(module: base.MemoryModule, own: Forward) -> Forward:
    """Return the module's forward; where all its steps are a loop over single ones, each draws the same."""
    kind: Any = type(module)
    if module.step_mode != "m" or not loops_over_steps(kind):
        return own

    def over_the_steps(x_seq: Tensor, *args: Any, **kwargs: Any) -> Any:
        def one_step(given: tuple) -> Any:
            return module.single_step_forward(*given, **kwargs)

        results = at_each_step(one_step, list(zip(x_seq, *args, strict=True)), x_seq.device)
        return stack_steps(kind.__name__, results)

    return over_the_steps


def _one_mask(module: nn.Module, x: Tensor, run: ForwardPass) -> Tensor:
    """Apply PyTorch's dropout with one mask for all steps, as SpikingJelly's does."""
    steps = run.known_T
    if not steps or x.shape[0] % steps:
        return type(module).forward(module, x)
    trace = run.trace(module, DropoutTrace)
    return DropoutRule().spikes(module, x.unflatten(0, (steps, -1)), trace).flatten(0, 1)


def _synchronised(module: nn.SyncBatchNorm, x: Tensor, run: ForwardPass) -> Tensor:
    if x.dim() > 2 and run.known_T == x.shape[0] and takes_sequence(module, x):
        return sync_batch_norm(module, x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return sync_batch_norm(module, x)


def _on_every_step(found: Layer, run: ForwardPass) -> Forward | None:
    """Return a layer's forward on pairs that hide the time axis, with spikes [T, B, ...].

    None for a module made of other layers, whose own code runs on pairs.
    """
    module = found.module
    own, neuron = module.forward, isinstance(module, base.MemoryModule)
    plain, leaf = found.kind.is_plain_neuron, is_leaf(module)
    wrapper = isinstance(module, CheckpointWrapper)

    def forward(*args: Any, **kwargs: Any) -> Any:
        inputs = [a for a in (*args, *kwargs.values()) if isinstance(a, Pair)]
        if neuron and run.checks_calls and run.count_call(module) > 0:
            raise called_again(module)
        if neuron and not inputs and args and isinstance(args[0], Tensor):
            inputs = [constant_pair(args[0], Pair(args[0].expand(run.T, *args[0].shape), None, run))]
        if not inputs:
            return own(*args, **kwargs)
        if wrapper:
            return checkpointed(module, args, kwargs, rate=False)
        if len(args) + len(kwargs) > 1 and not neuron:  # several inputs: its own code runs on pairs
            return own(*args, **kwargs)
        x = inputs[0]
        x.check()
        assert x.spikes is not None
        if neuron:
            others = {name: value for name, value in kwargs.items() if value is not x}
            with lent(module, at_rest(module), {}):
                fire = _with_one_draw(module, own)
                return Pair(_in_float32(fire, x.spikes, *args[1:], **others), None, run)
        if isinstance(module, DROPOUT):
            return by_rule(DropoutRule(), module, x, module)
        if plain:
            return Pair(over_steps(own, x.spikes), None, run)
        alone = _takes_each_sample_alone(module, x.dim())
        y = _folded(module, own, x.spikes) if alone else _step_by_step(module, own, x.spikes)
        return tree_map(lambda leaf: Pair(leaf, None, run) if isinstance(leaf, Tensor) else leaf, y)

    return forward if leaf or neuron or plain or wrapper else None


_DRAWING = (nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)  # random numbers, the same at every step
_EACH_SAMPLE_ALONE = tuple(
    f"torch.nn.modules.{name}"
    for name in (
        *("activation", "batchnorm", "channelshuffle", "conv", "dropout", "flatten", "fold", "instancenorm"),
        *("linear", "normalization", "padding", "pixelshuffle", "pooling", "sparse", "upsampling"),
    )
)


def _takes_each_sample_alone(module: nn.Module, dims: int) -> bool:
    """Whether a layer is PyTorch's, stateless, and takes each sample by itself (except batch normalisation).

    Such a layer takes all steps at once, folded into the batch.

    Args:
        module: the layer.
        dims: the number of axes of its input [B, ...].
    """
    if type(module).__module__ not in _EACH_SAMPLE_ALONE or isinstance(module, _DRAWING):
        return False
    over_batch = (
        isinstance(module, nn.Flatten | nn.Unflatten) and _is_first(getattr(module, "start_dim", 1), dims),
        hasattr(module, "dim") and (not isinstance(module.dim, int) or _is_first(module.dim, dims)),
        isinstance(module, nn.LayerNorm | nn.RMSNorm) and len(module.normalized_shape) >= dims,
    )
    return not any(over_batch)


def _is_first(axis: int, dims: int) -> bool:
    return axis in (0, -dims)


def _step_by_step(module: nn.Module, own: Forward, x_seq: Tensor) -> Any:
    """Run a layer in a loop over the steps.

    The layer may keep state between steps or mix the samples of a batch, which rules out folding time into
    the batch.
    """
    return stack_steps(type(module).__name__, at_each_step(own, list(x_seq), x_seq.device))


def _folded(module: nn.Module, own: Forward, x_seq: Tensor) -> Any:
    if isinstance(module, nn.modules.batchnorm._NormBase):  # running variance depends on T*B: no shortcut
        x = x_seq.flatten(0, 1)
        y = sync_batch_norm(module, x) if isinstance(module, nn.SyncBatchNorm) else own(x)
        return y.unflatten(0, x_seq.shape[:2])
    return fold_time(own, x_seq)
