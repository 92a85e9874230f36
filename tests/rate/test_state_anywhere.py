"""State from step to step is seen wherever a network's code keeps it; what stays the same is no state."""

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rbp
from rbp.rate import InputError, NoRuleError
from tests.support.networks import MODES, distance, lif, step

Change = Callable[[Any, Tensor], Tensor]
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


class Net(nn.Module):
    """Linear, spiking, what is under test, linear."""

    shared: ClassVar[dict[str, Any]] = {"last": 0.0}
    calls = 0

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.l1, self.l2 = lif(v_threshold=0.3), lif(v_threshold=0.3)
        self.drop, self.norm = nn.Dropout(0.1), nn.BatchNorm1d(8)
        self.two, self.clock = TwoInputs(), Clock()
        self.scales = nn.ParameterList([torch.ones(())])
        self.register_buffer("gain", torch.ones(()))
        self.slots, self.queue, self.iterator = Slots(), deque([0.0], maxlen=1), iter(range(100))
        self.array, self.table, self.change = np.zeros(1), None, change

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.l2(self.change(self, self.l1(self.a(x)))))


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


def made(change: Change) -> Net:
    torch.manual_seed(0)
    return Net(change).double()


def frames(T: int = 4) -> Tensor:
    return torch.rand(T, 5, 6, generator=torch.Generator().manual_seed(1)).double() * 3


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != ("bptt", "s")], ids=str)
@pytest.mark.parametrize("change", STATE, ids=lambda make: make().__name__)
def test_state_is_refused_wherever_it_is(change: Callable[[], Change], mode: tuple[str, str]) -> None:
    grad_mode, step_mode = mode
    with pytest.raises((InputError, NoRuleError), match=r"keeps|rate mode has no rule"):
        rbp.forward(made(change()), frames(), grad_mode=grad_mode, step_mode=step_mode)


def test_looking_for_state_changes_none() -> None:
    """The dry runs see copies: the first pass step by step afterwards is that of a new network."""
    with pytest.raises(InputError):
        rbp.forward(made(in_a_global_dict), frames(), grad_mode="bptt")
    KEPT["sum"] = 0.0  # the pass itself had begun
    Net.calls = 0
    with pytest.raises(InputError):
        rbp.forward(made(in_the_class), frames(), grad_mode="bptt")
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
    y, wanted = step(made(change), frames(), grad_mode="bptt", step_mode="s")
    z, found = step(made(change), frames(), grad_mode=grad_mode, step_mode=step_mode)
    torch.testing.assert_close(z, y)
    assert all(isinstance(value, float | Tensor) for value in KEPT.values())
    if grad_mode == "bptt":
        assert distance(found, wanted) < 1e-9


def test_the_message_names_what_is_kept() -> None:
    with pytest.raises(InputError, match=r"two \(TwoInputs\) keeps 'v' from step to step"):
        rbp.forward(made(in_a_layer_of_two_inputs), frames(), grad_mode="bptt")
    with pytest.raises(InputError, match=r"the network \(Net\) keeps something outside its attributes"):
        rbp.forward(made(in_a_global), frames(), grad_mode="bptt")
