"""`rbp.forward`: a spiking network over T steps, by BPTT or by Rate-based backpropagation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn

from rbp.rate import layers, neurons  # noqa: F401  (they register their rules)
from rbp.rate.pair import NoRuleError, Pair, is_constant
from rbp.rate.rules import Rule, Trace, find_rule, fold_time


def forward(
    net: nn.Module,
    x_seq: Tensor,
    *,
    step_mode: str = "m",
    grad_mode: str = "rate",
    T: int | None = None,
    per_step: bool = False,
) -> Tensor:
    """Run net over T steps and return the time mean of its output, [B, K], ready for `.backward()`.

    Args:
        net: any module of torch layers (or SpikingJelly's wrappers) and SpikingJelly neurons.
        x_seq: [T, B, ...], time first; `x.expand(T, *x.shape)` for a static image, which is not copied.
        step_mode: "m", T steps at once (batch normalisation over time and batch), or "s", one by one.
        grad_mode: "bptt" or "rate".
        T: with a static batch x [B, ...] in place of x_seq: the number of steps to show it for; with x_seq,
            what its length must be. The two are told apart by the number of dimensions that the network's
            first convolution takes (3, 4 or 5); in a network of linear layers alone, by 3 against any other.
        per_step: return every step's output, [T, B, K]; in rate mode each has the graph of the rate.

    The network's neurons are reset before and after; all else about it is as it was, also after an exception.
    Without gradients (`torch.no_grad()`) both gradient modes run the same plain forward pass.

    Raises:
        ValueError: an unknown mode, an empty batch, a T below 1 or not that of x_seq, a network without spiking neurons in rate mode.
        NoRuleError: rate mode met a layer or operation that it has no rule for; names its path.
    """
    x_seq = _as_sequence(net, x_seq, T)
    _check(net, x_seq, step_mode, grad_mode)
    if grad_mode == "rate" and torch.is_grad_enabled():
        run: Callable[..., Tensor] = _rate_multi_step if step_mode == "m" else _rate_single_step
    else:
        run = _plain_multi_step if step_mode == "m" else _plain_single_step
    with _neurons_reset(net):
        y_seq = run(net, x_seq, per_step)
    return y_seq


def _as_sequence(net: nn.Module, x: Tensor, T: int | None) -> Tensor:
    if T is None:
        return x
    if T < 1:
        raise ValueError(f"T={T}: a spiking network needs at least one time step")
    if not _has_time_axis(net, x):
        return x.expand(T, *x.shape)
    if x.shape[0] != T:
        raise ValueError(f"T={T}, but x_seq has {x.shape[0]} steps (its shape is {tuple(x.shape)}, time first)")
    return x


def _has_time_axis(net: nn.Module, x: Tensor) -> bool:
    for module in net.modules():
        for n, kind in enumerate((nn.Conv1d, nn.Conv2d, nn.Conv3d), start=1):
            if isinstance(module, kind):
                return x.dim() == n + 3  # [T, B, C] and n places
    return x.dim() == 3


def _check(net: nn.Module, x_seq: Tensor, step_mode: str, grad_mode: str) -> None:
    if step_mode not in ("m", "s"):
        raise ValueError(f"step_mode={step_mode!r}: 'm' (T steps at once) or 's' (one by one)")
    if grad_mode not in ("bptt", "rate"):
        raise ValueError(f"grad_mode={grad_mode!r}: 'bptt' or 'rate'")
    if x_seq.dim() < 2 or x_seq.numel() == 0:
        raise ValueError(f"x_seq has shape {tuple(x_seq.shape)}: [T, B, ...] with T and B of 1 or more is needed")
    if isinstance(net, nn.DataParallel):
        raise ValueError("net is wrapped in DataParallel, which copies it at every call: use DistributedDataParallel")
    if grad_mode == "rate" and not any(isinstance(m, base.MemoryModule) for m in net.modules()):
        raise ValueError("net has no spiking neurons (SpikingJelly's), so there is no rate to propagate")


# ---------------------------------------------------------------- BPTT, and any forward pass without gradients


def _plain_single_step(net: nn.Module, x_seq: Tensor, per_step: bool) -> Tensor:
    with _step_modes(net, "s"), _replaced(net, lambda path, m: _neuron_in_float32(m)):
        if per_step:
            return torch.stack([net(x) for x in x_seq])
        total = net(x_seq[0])
        for x in x_seq[1:]:
            total = total + net(x)
        return total / x_seq.shape[0]


def _plain_multi_step(net: nn.Module, x_seq: Tensor, per_step: bool) -> Tensor:
    if _has_step_modules(net):  # written with SpikingJelly's wrappers: it expects [T, B, ...] itself
        with _step_modes(net, "m"), _replaced(net, lambda path, m: _neuron_in_float32(m)):
            y_seq = net(x_seq)
    else:
        with _step_modes(net, "m"), _replaced(net, lambda path, m: _plain_forward(m, x_seq.shape[0])):
            y_seq = _spikes_of(net(Pair(x_seq, None)))
    return y_seq if per_step else y_seq.mean(0)


def _plain_forward(module: nn.Module, steps: int) -> Callable | None:
    """How a module without children takes all time steps at once; None leaves it (and containers) alone."""
    own = _own_forward(module)
    rule = None if _is_neuron(module) else find_rule(module)

    def forward(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, Pair):
            return own(x, *args, **kwargs)
        assert x.spikes is not None
        if _is_neuron(module):
            return Pair(own(_float32(x.spikes)), None)
        if rule is not None:
            return Pair(rule.spikes(module, x.spikes, Trace(steps)), None)
        return Pair(fold_time(lambda step: own(step, *args, **kwargs), x.spikes), None)

    is_leaf = next(module.children(), None) is None
    return forward if _is_neuron(module) or rule is not None or is_leaf else None


def _neuron_in_float32(module: nn.Module) -> Callable | None:
    """Under autocast a neuron would take its input's low precision: its membrane potential wants float32."""
    if not _is_neuron(module):
        return None
    own = _own_forward(module)
    return lambda x: own(_float32(x))


def _float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


# ---------------------------------------------------------------- Rate-based backpropagation


def _rate_multi_step(net: nn.Module, x_seq: Tensor, per_step: bool) -> Tensor:
    traces = _Traces(x_seq.shape[0], keep=False)
    with _rate_mode(net, traces):
        y = net(Pair(x_seq.detach(), _mean_step(x_seq)))
        return _with_steps(_spikes_of(y), y.rate) if per_step else y.rate


def _rate_single_step(net: nn.Module, x_seq: Tensor, per_step: bool) -> Tensor:
    """T steps without a graph, each leaving its share in the traces; then one pass that builds the graph."""
    traces = _Traces(x_seq.shape[0], keep=True)
    outputs = []
    with _rate_mode(net, traces):
        with torch.no_grad():
            for t in range(x_seq.shape[0]):
                y = net(Pair(x_seq[t : t + 1], None))
                outputs.append(_spikes_of(y)) if per_step else None
                traces.next_pass()
        rate = net(Pair(None, _mean_step(x_seq))).rate
    return _with_steps(torch.cat(outputs), rate) if per_step else rate


def _mean_step(x_seq: Tensor) -> Tensor:
    return x_seq[0] if is_constant(x_seq) else x_seq.mean(0)


def _with_steps(y_seq: Tensor, rate: Tensor) -> Tensor:
    """Every step's value [T, B, K], each with the graph of the rate."""
    return y_seq + (rate - rate.detach())


class _Traces:
    """The trace of every call of every layer; kept from pass to pass where the steps come one by one."""

    def __init__(self, steps: int, keep: bool) -> None:
        self.steps, self.keep = steps, keep
        self.kept: dict[tuple[int, int], Trace] = {}
        self.calls: dict[int, int] = {}

    def of_call(self, module: nn.Module) -> Trace:
        if not self.keep:
            return Trace(self.steps)
        number = self.calls.get(id(module), 0)
        self.calls[id(module)] = number + 1
        return self.kept.setdefault((id(module), number), Trace(self.steps))

    def next_pass(self) -> None:
        self.calls.clear()


@contextmanager
def _rate_mode(net: nn.Module, traces: _Traces) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(_step_modes(net, "s"))
        stack.enter_context(_replaced(net, lambda path, m: _rate_forward(path, m, traces)))
        yield


def _rate_forward(path: str, module: nn.Module, traces: _Traces) -> Callable:
    own, rule = _own_forward(module), find_rule(module)
    if rule is not None:
        return _forward_by_rule(rule, module, own, traces)

    def forward(*args: Any, **kwargs: Any) -> Any:
        if _is_neuron(module):
            raise _no_rule(path, module, "this neuron has no eligibility rule")
        try:
            return own(*args, **kwargs)
        except NoRuleError as error:
            raise error if hasattr(error, "path") else _no_rule(path, module, str(error)) from None

    return forward


def _forward_by_rule(rule: Rule, module: nn.Module, own: Callable, traces: _Traces) -> Callable:
    def forward(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, Pair):
            return own(x, *args, **kwargs)
        trace = traces.of_call(module)
        spikes = rate = None
        if x.spikes is not None:
            with torch.no_grad() if x.rate is not None else nullcontext():
                spikes = rule.spikes(module, x.spikes, trace)
        if x.rate is not None:
            rate = rule.rate(module, x.rate, trace)
        return Pair(spikes, rate)

    return forward


def _no_rule(path: str, module: nn.Module, why: str) -> NoRuleError:
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    error = NoRuleError(
        f"rate mode has no rule for {path or 'the network'} ({kind}): {why}. Give its layer type one with "
        "rbp.rate.register(rule, LayerType), rule having the methods of rbp.rate.Rule, or use grad_mode='bptt'."
    )
    error.path = path  # type: ignore[attr-defined]
    return error


# ---------------------------------------------------------------- leaving the network as it was


def _is_neuron(module: nn.Module) -> bool:
    return isinstance(module, base.MemoryModule)


def _has_step_modules(net: nn.Module) -> bool:
    return any(isinstance(m, base.StepModule) and not _is_neuron(m) for m in net.modules())


def _own_forward(module: nn.Module) -> Callable:
    return module.forward


def _spikes_of(y: Any) -> Tensor:
    if not isinstance(y, Pair) or y.spikes is None:
        raise ValueError(f"the network returned {type(y).__name__}, not a tensor computed from its input")
    return y.spikes


@contextmanager
def _neurons_reset(net: nn.Module) -> Iterator[None]:
    """Reset on entry and on exit."""
    stateful = [m for m in net.modules() if _is_neuron(m)]
    try:
        for module in stateful:
            module.reset()
        yield
    finally:
        for module in stateful:
            module.reset()


@contextmanager
def _step_modes(net: nn.Module, step_mode: str) -> Iterator[None]:
    before = [(m, m.step_mode) for m in net.modules() if isinstance(m, base.StepModule)]
    try:
        for module, _ in before:
            module.step_mode = step_mode
        yield
    finally:
        for module, old in before:
            module.step_mode = old


@contextmanager
def _replaced(net: nn.Module, choose: Callable[[str, nn.Module], Callable | None]) -> Iterator[None]:
    """Give modules another forward (where choose returns one) and take it away again."""
    before: list[tuple[nn.Module, Callable | None]] = []
    try:
        for path, module in net.named_modules():
            if isinstance(module, nn.parallel.DistributedDataParallel):
                continue
            new = choose(path, module)
            if new is not None:
                before.append((module, module.__dict__.get("forward")))
                module.__dict__["forward"] = new
        yield
    finally:
        for module, old in before:
            if old is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = old
