"""State from step to step is seen wherever a network's code keeps it; what stays the same is no state."""

import functools
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rbp
from rbp.rate import InputError, NoRuleError
from tests.support import tables
from tests.support.changed import Change, Changed, inputs
from tests.support.networks import MODES, distance, lif, step
from tests.support.tables import mask

TOTAL: Any = 0.0
KEPT: dict[str, Any] = {"sum": 0.0}
COUNTS = itertools.count(1)
BATCHES: list[float] = []


class Slots:
    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: Any = 0.0


class TwoInputs(nn.Module):
    """A layer of the user's own with a memory; it has two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Any = 0.0

    def forward(self, x: Tensor, gain: float) -> Tensor:
        self.v = 0.5 * self.v + gain * x
        return self.v


class Clock(nn.Module):
    """A layer without input."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = 0

    def forward(self) -> int:
        self.ticks += 1
        return self.ticks


class Net(Changed):
    """With all kinds of places to keep a state in."""

    shared: ClassVar[dict[str, Any]] = {"last": 0.0}
    calls = 0

    def __init__(self, change: Change) -> None:
        super().__init__(change)
        self.drop, self.norm = nn.Dropout(0.1), nn.BatchNorm1d(8)
        self.two, self.clock = TwoInputs(), Clock()
        self.scales = nn.ParameterList([torch.ones(())])
        self.register_buffer("gain", torch.ones(()))
        self.slots, self.queue, self.iterator = Slots(), deque([0.0], maxlen=1), iter(range(100))
        self.array, self.table = np.zeros(1), None


def in_slots(net: Any, s: Tensor) -> Tensor:
    net.slots.last = 0.5 * net.slots.last + s.detach()
    return s + net.slots.last


def in_a_queue(net: Any, s: Tensor) -> Tensor:
    net.queue.append(0.5 * net.queue[-1] + s.detach())
    return s + net.queue[-1]


def in_an_iterator(net: Any, s: Tensor) -> Tensor:
    return s * (1 + next(net.iterator))


def in_an_array(net: Any, s: Tensor) -> Tensor:
    net.array += 1
    return s * float(net.array[0])


def in_a_global(net: Any, s: Tensor) -> Tensor:
    global TOTAL
    TOTAL = 0.5 * TOTAL + s.detach()
    return s + TOTAL


def in_a_global_dict(net: Any, s: Tensor) -> Tensor:
    KEPT["sum"] = 0.5 * KEPT["sum"] + s.detach()
    return s + KEPT["sum"]


def in_a_global_iterator(net: Any, s: Tensor) -> Tensor:
    return s * next(COUNTS)


def in_the_class(net: Any, s: Tensor) -> Tensor:
    Net.calls += 1
    return s * Net.calls


def in_a_dict_of_the_class(net: Any, s: Tensor) -> Tensor:
    net.shared["last"] = 0.5 * net.shared["last"] + s.detach()
    return s + net.shared["last"]


def in_a_default(net: Any, s: Tensor, calls: list[int] = []) -> Tensor:  # noqa: B006
    calls.append(1)
    return s * len(calls)


def in_a_function(net: Any, s: Tensor) -> Tensor:
    in_a_function.calls = getattr(in_a_function, "calls", 0) + 1  # type: ignore[attr-defined]
    return s * in_a_function.calls  # type: ignore[attr-defined]


def in_data(net: Any, s: Tensor) -> Tensor:
    net.gain.data.mul_(0.5)
    return s * net.gain


def in_data_that_is_set(net: Any, s: Tensor) -> Tensor:
    net.gain.data = net.gain.data * 0.5
    return s * net.gain


def in_a_parameter(net: Any, s: Tensor) -> Tensor:
    with torch.no_grad():
        net.scales[0].mul_(0.5)
    return s * net.scales[0].detach()


def in_a_new_parameter(net: Any, s: Tensor) -> Tensor:
    net.scales.append(net.scales[-1].detach() * 0.5)
    return s * net.scales[-1].detach()


def in_a_child(net: Any, s: Tensor) -> Tensor:
    net.b = nn.Sequential(net.b)
    return s * len(list(net.b.modules()))


def in_a_setting(net: Any, s: Tensor) -> Tensor:
    net.drop.p = 0.9 if net.drop.p < 0.5 else 0.1
    return net.drop(s)


def in_a_layer_of_two_inputs(net: Any, s: Tensor) -> Tensor:
    return net.two(s, 2.0)


def in_a_layer_without_input(net: Any, s: Tensor) -> Tensor:
    return s * net.clock()


def in_running_statistics(net: Any, s: Tensor) -> Tensor:
    return net.norm(s) + net.norm.running_mean


def enclosed() -> Change:
    kept: Any = 0.0

    def in_a_closure(net: Any, s: Tensor) -> Tensor:
        nonlocal kept
        kept = 0.5 * kept + s.detach()
        return s + kept

    return in_a_closure


STATE: list[Callable[[], Change]] = [
    enclosed,
    *(
        (lambda change=change: change)
        for change in (
            *(in_slots, in_a_queue, in_an_iterator, in_an_array, in_a_global, in_a_global_dict),
            *(in_a_global_iterator, in_the_class, in_a_dict_of_the_class, in_a_default, in_a_function),
            *(in_data, in_data_that_is_set, in_a_parameter, in_a_new_parameter, in_a_child, in_a_setting),
            *(in_a_layer_of_two_inputs, in_a_layer_without_input, in_running_statistics),
        )
    ),
]


@pytest.fixture(autouse=True)
def fresh() -> None:
    global TOTAL, COUNTS
    TOTAL, KEPT["sum"], COUNTS = 0.0, 0.0, itertools.count(1)
    Net.calls, Net.shared["last"] = 0, 0.0
    in_a_default.__defaults__[0].clear()  # type: ignore[index]
    vars(in_a_function).clear()


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != ("bptt", "s")], ids=str)
@pytest.mark.parametrize("change", STATE, ids=lambda make: make().__name__)
def test_state_is_refused_wherever_it_is(change: Callable[[], Change], mode: tuple[str, str]) -> None:
    grad_mode, step_mode = mode
    with pytest.raises((InputError, NoRuleError), match=r"keeps|rate mode has no rule"):
        rbp.forward(Net.made(change()), inputs(), grad_mode=grad_mode, step_mode=step_mode)


def test_looking_for_state_changes_none() -> None:
    """The dry runs see copies: the first pass step by step afterwards is that of a new network."""
    with pytest.raises(InputError):
        rbp.forward(Net.made(in_a_global_dict), inputs(), grad_mode="bptt")
    KEPT["sum"] = 0.0  # the pass itself had begun
    Net.calls = 0
    with pytest.raises(InputError):
        rbp.forward(Net.made(in_the_class), inputs(), grad_mode="bptt")
    assert KEPT == {"sum": 0.0} and type(KEPT["sum"]) is float
    assert Net.calls == 1


def keeps_a_table(net: Any, s: Tensor) -> Tensor:
    if net.table is None:
        net.table = torch.arange(8.0, dtype=s.dtype) / 8
    return s + net.table


def keeps_tables_by_size(net: Any, s: Tensor) -> Tensor:
    if s.shape[-1] not in KEPT:
        KEPT[s.shape[-1]] = torch.linspace(0, 1, s.shape[-1], dtype=s.dtype)  # type: ignore[index]
    return s * KEPT[s.shape[-1]]  # type: ignore[index]


def notes_what_it_saw(net: Any, s: Tensor) -> Tensor:
    BATCHES.append(len(s))
    net.slots.last = s
    return s


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("change", [keeps_a_table, keeps_tables_by_size, notes_what_it_saw])
def test_what_stays_the_same_or_is_never_read_is_no_state(change: Change, mode: tuple[str, str]) -> None:
    grad_mode, step_mode = mode
    y, wanted = step(Net.made(change), inputs(), grad_mode="bptt", step_mode="s")
    z, found = step(Net.made(change), inputs(), grad_mode=grad_mode, step_mode=step_mode)
    torch.testing.assert_close(z, y)
    assert all(isinstance(value, float | Tensor) for value in KEPT.values())
    if grad_mode == "bptt":
        assert distance(found, wanted) < 1e-9


def counts_in_a_module(net: Any, s: Tensor) -> Tensor:
    tables.COUNT += 1
    return s * tables.COUNT


def seeds_by_a_count(net: Any, s: Tensor) -> Tensor:
    net.clock()
    torch.manual_seed(net.clock.ticks)
    return s + torch.rand_like(s)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != ("bptt", "s")], ids=str)
@pytest.mark.parametrize("change", [counts_in_a_module, seeds_by_a_count])
def test_state_elsewhere_is_refused_too(change: Change, mode: tuple[str, str]) -> None:
    tables.COUNT = 0
    with pytest.raises((InputError, NoRuleError), match="keeps"):
        rbp.forward(Net.made(change), inputs(), grad_mode=mode[0], step_mode=mode[1])
    assert tables.COUNT <= 5  # the pass itself, not the search


TABLES: dict[str, Change] = {
    "cached function": lambda net, s: s + tables.table(8, s.dtype),
    "imported name": lambda net, s: s + mask(8, s.dtype),
    "function of a module": lambda net, s: s * tables.mask(8, s.dtype),
    "class method": lambda net, s: s + tables.Tables.get(8, s.dtype),
    "partial": lambda net, s: s + functools.partial(tables.mask, 8)(s.dtype),
    "function in a dict": lambda net, s: s + {"mask": tables.mask}["mask"](8, s.dtype),
}


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("change", TABLES.values(), ids=TABLES)
def test_tables_made_once_are_no_state_and_stay_whole(change: Change, mode: tuple[str, str]) -> None:
    tables.table.cache_clear()
    tables.CACHE.clear()
    tables.Tables.made.clear()
    z, _ = step(Net.made(change), inputs(), grad_mode=mode[0], step_mode=mode[1])
    for table in (
        tables.table(8, torch.float64),
        tables.mask(8, torch.float64),
        *tables.Tables.made.values(),
    ):
        assert table.device.type == "cpu" and len(table) == 8
    y, _ = step(Net.made(change), inputs(), grad_mode="bptt", step_mode="s")
    torch.testing.assert_close(z, y)


def appends_what_it_saw(net: Any, s: Tensor) -> Tensor:
    BATCHES.append(s.detach().mean())  # type: ignore[arg-type]
    return s


def keeps_weights_small(net: Any, s: Tensor) -> Tensor:
    net.b.weight.data = torch.renorm(net.b.weight.data, 2, 0, 0.5)
    net.b.weight.data.clamp_(-0.1, 0.1)
    return net.b(s)


def draws_into_a_buffer(net: Any, s: Tensor) -> Tensor:
    return s + net.gain.normal_()


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("change", [appends_what_it_saw, keeps_weights_small, draws_into_a_buffer])
def test_what_is_the_same_at_each_step_is_no_state(change: Change, mode: tuple[str, str]) -> None:
    BATCHES.clear()
    torch.manual_seed(0)
    z, _ = step(Net.made(change), inputs(), grad_mode=mode[0], step_mode=mode[1])
    torch.manual_seed(0)
    y, _ = step(Net.made(change), inputs(), grad_mode="bptt", step_mode="s")
    torch.testing.assert_close(z, y)


class Box(nn.Module):
    """Puts what it gets into a box, or adds what is in the box."""

    def __init__(self, box: dict[str, Any], puts: bool) -> None:
        super().__init__()
        self.box, self.puts = box, puts

    def forward(self, x: Tensor) -> Tensor:
        if self.puts:
            self.box["x"] = x
            return x
        return x + self.box["x"]


class Memory(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.v: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.v = 0.5 * self.v + x
        return self.v


def net_of(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), lif(v_threshold=0.3), *layers, nn.Linear(8, 3)).double()


class ReadsIt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()

    def forward(self, x: Tensor) -> Tensor:
        return self.memory(x) + self.memory.v


def twice() -> nn.Module:
    memory = Memory()
    return net_of(memory, memory)


def around() -> nn.Module:
    box: dict[str, Any] = {}
    return net_of(Box(box, True), nn.Linear(8, 8), Box(box, False))


def test_layers_that_run_in_loops_share_nothing_but_inputs_and_outputs() -> None:
    """A layer of the user's own runs all steps before the next does: its own memory is right, no more."""
    y, wanted = step(net_of(Memory()), inputs(), grad_mode="bptt", step_mode="s")
    z, found = step(net_of(Memory()), inputs(), grad_mode="bptt")
    torch.testing.assert_close(z, y)
    assert distance(found, wanted) < 1e-9
    for make in (twice, around, lambda: net_of(ReadsIt())):
        rbp.forward(make(), inputs(), grad_mode="bptt", step_mode="s")
        with pytest.raises(InputError, match="keeps"):
            rbp.forward(make(), inputs(), grad_mode="bptt")


@dataclass
class Out:
    y: Tensor
    calls: int


class WithMore(Net):
    """Returns a count beside its output."""

    def forward(self, x: Tensor) -> Any:
        self.clock()
        return Out(super().forward(x), self.clock.ticks)


def test_the_output_that_is_picked_counts_and_no_other() -> None:
    for change, refused in ((notes_what_it_saw, False), (in_a_layer_without_input, True)):
        torch.manual_seed(0)
        net = WithMore(change).double()
        if refused:
            with pytest.raises(InputError, match="keeps"):
                rbp.forward(net, inputs(), grad_mode="bptt", output="y")
        else:
            rbp.forward(net, inputs(), grad_mode="bptt", output="y")


def test_the_search_is_made_once() -> None:
    calls = []

    class Seen(Net):
        def forward(self, x: Tensor, flag: bool = False) -> Tensor:
            calls.append(1)
            return super().forward(x)

    net: Any = Seen(lambda net, s: s * net.rate).double()
    net.rate = 0.5
    rbp.forward(net, inputs(), kwargs={"flag": True})
    first = len(calls)
    for rate in (0.4, 0.3, 0.2):  # annealed
        net.rate = rate
        rbp.forward(net, inputs(), kwargs={"flag": True})
    per_search = first - 1
    assert len(calls) == first + 3 * (1 + per_search)
    with pytest.warns(UserWarning, match="16 values of a setting that is a float"):
        for step_of_many in range(20):
            net.rate = 0.1 + 0.001 * step_of_many
            rbp.forward(net, inputs(), kwargs={"flag": True})
    assert len(calls) == first + 3 * (1 + per_search) + 20 + 12 * per_search
    before = len(calls)
    rbp.forward(net, inputs(), kwargs={"flag": True})
    assert len(calls) == before + 1


@pytest.mark.parametrize("limit", [0.5, 0.0, -2.0])
def test_a_float_that_switches_state_on_is_followed(limit: float) -> None:
    """Whatever the limit is, the answer for a value below it is not that for one above."""

    def above_the_limit(net: Any, s: Tensor) -> Tensor:
        return in_slots(net, s) if net.gate > limit else s

    net: Any = Net.made(above_the_limit)
    for gate, refused in ((limit - 0.2, False), (limit + 0.1, True), (limit - 0.1, False)):
        net.gate = gate
        if refused:
            with pytest.raises(InputError, match="keeps"):
                rbp.forward(net, inputs(), grad_mode="bptt")
        else:
            rbp.forward(net, inputs(), grad_mode="bptt")


class Recorder:
    """Keeps what a hook sees; `leaks` adds it to what the layer returns."""

    def __init__(self, leaks: bool) -> None:
        self.last: Any = 0.0
        self.seen = 0
        self.leaks = leaks

    def hook(self, module: nn.Module, args: Any, y: Tensor) -> Tensor | None:
        self.seen += 1
        self.last = 0.5 * self.last + y.detach()
        return y + self.last if self.leaks else None

    def pre_hook(self, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
        self.seen += 1
        self.last = 0.5 * self.last + args[0].detach()
        return (args[0] + self.last,) if self.leaks else None


@pytest.mark.parametrize("pre", [False, True])
def test_state_that_only_hooks_keep_is_seen(pre: bool) -> None:
    for leaks in (True, False):
        net, recorder = Net.made(lambda net, s: s), Recorder(leaks)
        if pre:
            net.b.register_forward_pre_hook(recorder.pre_hook)
        else:
            net.a.register_forward_hook(recorder.hook)
        net.change = lambda net, s: net.b(s)
        if leaks:
            with pytest.raises(InputError, match="keeps"):
                rbp.forward(net, inputs(), grad_mode="bptt")
        else:
            rbp.forward(net, inputs(), grad_mode="bptt")
            assert recorder.seen == 1  # not in the trial


@torch.jit.script
def scripted(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def test_a_scripted_function_is_refused_by_name() -> None:
    for grad_mode in ("bptt", "rate"):
        with pytest.raises(NoRuleError, match=r"scripted, compiled by torch.jit"):
            rbp.forward(Net.made(lambda net, s: scripted(s)), inputs(), grad_mode=grad_mode)


def test_the_message_names_what_is_kept() -> None:
    with pytest.raises(InputError, match=r"two \(TwoInputs\) keeps 'v' from step to step"):
        rbp.forward(Net.made(in_a_layer_of_two_inputs), inputs(), grad_mode="bptt")
    with pytest.raises(InputError, match=r"the network \(Net\) keeps something outside its attributes"):
        rbp.forward(Net.made(in_a_global), inputs(), grad_mode="bptt")
