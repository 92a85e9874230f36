"""Networks composed at random of the idioms for time, against their own plain runs."""

from collections.abc import Callable, Sequence
from typing import Any

import einops
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rbp import forward
from rbp.rate.errors import InputError, NoRuleError
from tests.support import idioms
from tests.support.idioms import SHAPE, Composed, Plan
from tests.support.networks import BPTT, RATE, distance, step
from tests.support.plain_runs import Truth

some = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@st.composite
def plans(draw: st.DrawFn, layout: str | None = None) -> Plan:
    def one_of(values: Sequence[Any]) -> Any:
        return draw(st.sampled_from(values))

    layout = layout or one_of(["TB", "TB", "BT", "BT", "static", "static", "step"])
    handles_time = layout != "step"
    return Plan(
        layout,
        inside=one_of(["TB", "BT"]),
        fold=one_of(idioms.FOLDS),
        repeat=one_of(idioms.REPEATS),
        late=draw(st.booleans()),
        enter=one_of(idioms.ENTERS),
        norm=one_of(idioms.NORMS),
        node=one_of(idioms.NODES),
        time_embedding=handles_time and draw(st.booleans()),
        class_token=draw(st.booleans()),
        bodies=tuple(draw(st.lists(st.sampled_from(idioms.BODIES), max_size=2))),
        residual=draw(st.booleans()),
        drop_path=draw(st.booleans()),
        end=one_of(idioms.ENDS) if handles_time else "steps",
    )


sizes = st.sampled_from([1, 3, 4]).flatmap(lambda T: st.tuples(st.just(T), st.sampled_from([2, T, T + 1])))


def made(plan: Plan, T: int, B: int, seed: int) -> tuple[nn.Module, nn.Module | None, Tensor]:
    """The network, its twin with time first (of a network of single steps), and x_seq."""
    torch.manual_seed(seed)
    net = Composed(plan, T).double()
    same = plan._replace(layout="TB", inside="TB", fold="flatten")
    twin = Composed(same, T).double() if plan.layout == "step" else None
    return net, twin, torch.randn(T, B, *SHAPE, dtype=torch.float64) * 2


@some
@given(plan=plans(), size=sizes, mode=st.sampled_from("ms"), seed=st.integers(0, 9))
def test_any_composition_is_its_plain_run(plan: Plan, size: tuple[int, int], mode: str, seed: int) -> None:
    T, B = size
    net, twin, x = made(plan, T, B, seed)
    if plan.layout == "static" or (plan.time_embedding and T > 1):  # no step mode s
        mode = "m"
    x = x[0] if plan.layout == "static" else x
    truth = Truth(net, x, plan.layout, mode, twin if mode == "m" else None)
    assert 0 < truth.firing["spike"] < 1
    assert all(rate > 0 for rate in truth.firing.values())
    truth.holds(net, x, one_step=T == 1, layout=plan.layout, step_mode=mode)


@some
@given(plan=plans(), size=sizes, seed=st.integers(0, 9))
def test_a_layout_found_out_is_the_networks_or_an_error_that_names_it(
    plan: Plan, size: tuple[int, int], seed: int
) -> None:
    T, B = size
    net, twin, x = made(plan, T, B, seed)
    x = x[0] if plan.layout == "static" else x
    truth = Truth(net, x, plan.layout, "m", twin)
    try:
        truth.holds(net, x, one_step=T == 1, T=T)
    except InputError as error:
        assert "layout=" in str(error)


few = settings(max_examples=15, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize("layout", ["step", "TB", "BT", "static"])
def test_the_layout_of_a_network_is_found_out(layout: str) -> None:
    @few
    @given(plan=plans(layout), size=sizes, seed=st.integers(0, 9))
    def check(plan: Plan, size: tuple[int, int], seed: int) -> None:
        net, twin, x = made(plan, *size, seed)
        x = x[0] if layout == "static" else x
        truth = Truth(net, x, layout, "m", twin)
        with torch.no_grad():
            torch.testing.assert_close(forward(net, x), truth.y)

    check()


@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
@pytest.mark.parametrize("T, B", [(3, 4), (3, 3)])
def test_a_batch_first_sequence_lies_in_memory_as_one(T: int, B: int, grad_mode: str) -> None:
    """x.view(B*T, ...), as of a batch that a loader made."""
    net, _, x = made(Plan("BT", "BT", fold="view"), T, B, 0)
    truth = Truth(net, x, "BT")
    torch.testing.assert_close(forward(net, x, layout="BT", grad_mode=grad_mode), truth.y)


@pytest.mark.parametrize("grad_mode", ["bptt", "rate"])
@pytest.mark.parametrize("T, B", [(3, 4), (3, 3)])
@pytest.mark.parametrize("layout", ["TB", "BT", "static"])
def test_containers_join_whatever_two_axes_are_first(layout: str, T: int, B: int, grad_mode: str) -> None:
    net, _, x = made(Plan(layout, "BT", fold="SeqToANNContainer", bodies=("attention",)), T, B, 0)
    x = x[0] if layout == "static" else x
    truth = Truth(net, x, layout)
    torch.testing.assert_close(forward(net, x, layout=layout, grad_mode=grad_mode), truth.y)


def test_an_image_handed_over_with_T_is_shown_at_every_step() -> None:
    for layout in ("TB", "BT"):
        net, _, x = made(Plan(layout, bodies=("attention",)), 3, 3, 0)
        truth = Truth(net, x[:1].expand(x.shape), layout)
        torch.testing.assert_close(forward(net, x[0], T=3, layout=layout), truth.y)


WIDE = 6


class Around(nn.Module):
    """Two layers of neurons, time first, and a function between them or after them."""

    def __init__(self, T: int, middle: Callable | None = None, end: Callable | None = None) -> None:
        super().__init__()
        self.T, self.middle, self.end = T, middle, end
        self.fc1, self.lif1 = nn.Linear(WIDE, WIDE), idioms.node("lif soft", "m")
        self.fc2, self.lif2 = nn.Linear(WIDE, WIDE), idioms.node("lif hard", "m")
        self.head = nn.Linear(WIDE, 5)
        self.by_step = nn.Parameter(torch.rand(T) + 0.5)
        self.over_time = nn.Conv1d(WIDE, WIDE, 3, padding=1)
        self.mixing = nn.Linear(T, T)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lif1(self.fc1(x))
        x = x if self.middle is None else self.middle(self, x)
        y = self.head(self.lif2(self.fc2(x)))
        return y.mean(0) if self.end is None else self.end(self, y)


def added_up(net: Around, y: Tensor) -> Tensor:
    total: Any = 0
    for t in range(net.T):
        total = total + y[t]
    return total / net.T


# Ways to write the time mean, and what leaves steps apart.
ENDS = {
    "mean of a tuple": lambda net, y: y.mean((0,)),
    "mean, negative": lambda net, y: y.mean(-3),
    "torch.mean": lambda net, y: torch.mean(y, dim=0),
    "mean kept": lambda net, y: y.mean(0, keepdim=True).squeeze(0),
    "sum": lambda net, y: y.sum(0),
    "sum by torch": lambda net, y: torch.sum(y, 0) * (1 / net.T),
    "added up": added_up,
    "sum of a generator": lambda net, y: sum(y[t] for t in range(net.T)) / net.T,
    "unbound and stacked": lambda net, y: torch.stack(y.unbind(0)).mean(0),
    "unbound and summed": lambda net, y: sum(torch.unbind(y, 0)) / net.T,
    "folded and back": lambda net, y: y.flatten(0, 1).view(net.T, -1, 5).mean(0),
    "moved last": lambda net, y: y.permute(1, 2, 0).mean(-1),
    "moved second": lambda net, y: y.transpose(0, 1).mean(1),
    "moved by movedim": lambda net, y: torch.movedim(y, 0, 2).mean(2),
    "einops": lambda net, y: einops.reduce(y, "t b k -> b k", "mean"),
    "last step": lambda net, y: y[-1],
    "last step, all": lambda net, y: y[-1, :, :],
    "last step, ...": lambda net, y: y[-1, ...],
    "first step": lambda net, y: y[0],
    "select": lambda net, y: y.select(0, -1),
    "mean and last": lambda net, y: y.mean(0) + y[-1],
    "steps": lambda net, y: y,
    "mean of softmax": lambda net, y: y.mean(0).softmax(-1),
}
MIDDLES = {
    "heads and back": lambda net, x: (
        x.reshape(net.T, -1, 2, 3).permute(0, 2, 1, 3).permute(0, 2, 1, 3).flatten(2)
    ),
    "time last and back": lambda net, x: x.permute(1, 2, 0).contiguous().permute(2, 0, 1),
    "time and batch exchanged": lambda net, x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "batch first, folded": lambda net, x: (
        x.transpose(0, 1).reshape(-1, WIDE).view(-1, net.T, WIDE).transpose(0, 1)
    ),
    "rolled features": lambda net, x: x.roll(1, -1),
    "chunks of features": lambda net, x: torch.cat(x.chunk(2, -1)[::-1], -1),
    "gate": lambda net, x: x * net.fc1.bias.sigmoid(),
    "features in place": lambda net, x: x.clone().mul_(2.0),
    "product with itself": lambda net, x: x * x.flip(-1),
    "einsum": lambda net, x: torch.einsum("tbi,oi->tbo", x, net.fc2.weight),
    "matmul": lambda net, x: x @ net.fc2.weight.t(),
    "added per step": lambda net, x: x + net.by_step.view(-1, 1, 1),
    "shared by the batch": lambda net, x: x - x.mean(1, keepdim=True),
}

# What weighs, mixes, cuts or repeats steps: by a rule, or refused by name.
MIXING_ENDS = {
    "weighted": lambda net, y: (y * net.by_step.view(-1, 1, 1)).sum(0),
    "weighted by einsum": lambda net, y: torch.einsum("tbk,t->bk", y, net.by_step),
    "weighted by matmul": lambda net, y: y.permute(1, 2, 0) @ net.by_step,
    "linear over time": lambda net, y: net.mixing(y.permute(1, 2, 0)).mean(-1),
    "softmax over time": lambda net, y: (y.softmax(0) * y).sum(0),
    "mean of softmaxes": lambda net, y: y.softmax(-1).mean(0),
    "mean of squares": lambda net, y: (y * y).mean(0),
    "mean of relu": lambda net, y: y.relu().mean(0),
    "maximum": lambda net, y: y.max(0).values,
    "maximum by amax": lambda net, y: y.amax(0),
    "median": lambda net, y: y.median(0).values,
    "deviation": lambda net, y: y.std(0, unbiased=False),
    "log of mean of exp": lambda net, y: y.logsumexp(0),
    "all but the first": lambda net, y: y[net.T // 2 :].mean(0),
    "every other": lambda net, y: y[::2].mean(0),
    "last two": lambda net, y: y[-2:].sum(0),
    "chosen by a list": lambda net, y: y[[0]].mean(0),
    "cumulated": lambda net, y: y.cumsum(0).mean(0),
    "cumulated, last": lambda net, y: y.cumsum(0)[-1],
    "differences": lambda net, y: (y - y.roll(1, 0)).abs().mean(0),
    "reversed": lambda net, y: y.flip(0)[0],
    "batch taken for time": lambda net, y: y.reshape(-1, net.T, 5).mean(1),
    "batch taken for time by view": lambda net, y: y.view(y.shape[1], y.shape[0], 5).mean(1),
}
MIXING_MIDDLES = {
    "mean over all": lambda net, x: x - x.mean(),
    "mean over time": lambda net, x: x - x.mean(0, keepdim=True),
    "mean over time, spread": lambda net, x: x.mean(0).unsqueeze(0).repeat(net.T, 1, 1),
    "largest of all": lambda net, x: x / (x.amax() + 1),
    "shifted": lambda net, x: torch.cat((x[1:], x[:1])),
    "shifted by roll": lambda net, x: x.roll(1, 0),
    "some features shifted": lambda net, x: torch.cat((x[..., :2].roll(1, 0), x[..., 2:]), -1),
    "reversed": lambda net, x: x.flip(0),
    "cumulated": lambda net, x: x.cumsum(0),
    "convolved over time": lambda net, x: net.over_time(x.permute(1, 2, 0)).permute(2, 0, 1),
    "linear over time": lambda net, x: net.mixing(x.permute(1, 2, 0)).permute(2, 0, 1),
    "weighted": lambda net, x: x * net.by_step.view(-1, 1, 1),
    "attention over time": lambda net, x: (
        (x.transpose(0, 1) @ x.permute(1, 2, 0)) @ x.transpose(0, 1)
    ).transpose(0, 1),
    "batch taken for time": lambda net, x: x.transpose(0, 1).reshape(x.shape),
    "folded the other way": lambda net, x: x.transpose(0, 1).reshape(-1, WIDE).view(x.shape),
    "steps set by hand": lambda net, x: torch.stack([x[0]] * net.T),
    "a step written": lambda net, x: x.clone().index_fill_(0, torch.tensor([0]), 0.5),
    "interpolated": lambda net, x: F.avg_pool1d(x.permute(1, 2, 0), 3, 1, 1).permute(2, 0, 1),
    "layer norm over time": lambda net, x: F.layer_norm(x.permute(1, 2, 0), (net.T,)).permute(2, 0, 1),
    "neurons on folded steps": lambda net, x: x + net.lif2(x.flatten(0, 1)).view(x.shape),
    "neurons twice": lambda net, x: net.lif1(x),
    "steps looked at": lambda net, x: x * 2 if x.sum() > 0 else x,
}


KINDS = {
    ("end", True): ENDS,
    ("middle", True): MIDDLES,
    ("end", False): MIXING_ENDS,
    ("middle", False): MIXING_MIDDLES,
}
APART = [(part, name) for (part, apart), kinds in KINDS.items() if apart for name in kinds]
MIXING = [(part, name) for (part, apart), kinds in KINDS.items() if not apart for name in kinds]


def around(part: str, function: Callable, T: int, B: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    net = Around(T, **{part: function}).double()
    return net, torch.randn(T, B, WIDE, dtype=torch.float64) * 3


@pytest.mark.parametrize("T, B", [(1, 2), (3, 4), (3, 3)])
@pytest.mark.parametrize("part, name", APART)
def test_what_leaves_the_steps_apart(part: str, name: str, T: int, B: int) -> None:
    net, x = around(part, KINDS[part, True][name], T, B)
    truth = Truth(net, x, "TB")
    assert all(0 < rate < 1 for rate in truth.firing.values())
    truth.holds(net, x, one_step=T == 1, layout="TB")


@pytest.mark.parametrize("T, B", [(1, 2), (3, 4), (3, 3), (4, 2)])
@pytest.mark.parametrize("part, name", MIXING)
def test_what_mixes_steps_is_right_or_refused_by_name(part: str, name: str, T: int, B: int) -> None:
    net, x = around(part, KINDS[part, False][name], T, B)
    try:
        truth = Truth(net, x, "TB")
    except RuntimeError:
        assert name.startswith("batch taken for time")  # of another size
        return
    y, gradients = step(net, x, layout="TB", **BPTT)
    torch.testing.assert_close(y, truth.y)
    assert distance(gradients, truth.gradients) < 1e-6
    try:
        y, gradients = step(net, x, layout="TB", **RATE)
    except NoRuleError as error:
        assert "rate mode has no rule for" in str(error)
    except InputError as error:  # the time mean was the batch's
        assert name.startswith("batch taken for time") and "returned shape" in str(error)
    else:
        torch.testing.assert_close(y, truth.y)
        if T == 1:
            assert distance(gradients, truth.gradients) < 1e-6
