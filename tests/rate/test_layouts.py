"""How a network handles the time axis: each layout, said and found out, and what is refused."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import rbp
from rbp.rate.errors import InputError, NoRuleError
from tests.support.idioms import SHAPE, Composed, Plan
from tests.support.networks import MODES, distance, snapshot, step
from tests.support.plain_runs import Truth, plain

GRAD_MODES = ["bptt", "rate"]


def lif(step_mode: str = "m") -> nn.Module:
    return neuron.LIFNode(v_threshold=0.2, v_reset=None, detach_reset=True, step_mode=step_mode)


class Small(nn.Module):
    """Two linear layers and neurons between them, [.., 6] to [.., 5]."""

    def __init__(self, step_mode: str = "m") -> None:
        super().__init__()
        self.fc, self.lif, self.head = nn.Linear(6, 8), lif(step_mode), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lif(self.fc(x)))


class MeanOfSmall(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mean(0)


class BatchFirst(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(0, 1)).transpose(0, 1)


class MeanOfBatchFirst(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(0, 1)).mean(0)


class Repeats(Small):
    """It repeats an image three times itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.unsqueeze(0).repeat(3, *[1] * x.dim()))


class MeanOfRepeats(Repeats):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mean(0)


class Loops(Small):
    """It goes through the time steps itself, neurons in step mode s."""

    def __init__(self) -> None:
        super().__init__("s")

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([super(Loops, self).forward(x_t) for x_t in x])


class LoopsOverImage(Loops):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.expand(3, *x.shape)).mean(0)


def wrappers() -> nn.Module:
    return nn.Sequential(layer.Linear(6, 8), lif("s"), layer.Linear(8, 5))


def made(make: Callable[[], nn.Module], T: int = 3, B: int = 4) -> tuple[nn.Module, Tensor]:
    """The network in float64 and x_seq, on which its neurons fire."""
    torch.manual_seed(0)
    return make().double(), torch.randn(T, B, 6, dtype=torch.float64) * 3


KINDS = {
    "one step": ("step", lambda: Small("s")),
    "wrappers in s": ("step", wrappers),
    "wrappers in m": ("TB", lambda: functional.set_step_mode(net := wrappers(), "m") or net),
    "time first": ("TB", Small),
    "time first, its mean": ("TB", MeanOfSmall),
    "batch first": ("BT", BatchFirst),
    "batch first, its mean": ("BT", MeanOfBatchFirst),
    "an image": ("static", Repeats),
    "an image, its mean": ("static", MeanOfRepeats),
}
TB_OR_BT = {k: v for k, v in KINDS.items() if v[0] in ("TB", "BT")}
MEANS = {k: v for k, v in KINDS.items() if "mean" in k}


# --- found out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("T, B", [(3, 4), (3, 3), (3, 2), (3, 1), (1, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_each_layout_is_found_out(kind: str, T: int, B: int, grad_mode: str) -> None:
    layout, make = KINDS[kind]
    net, x = made(make, T, B)
    x = x[0] if layout == "static" else x
    twin = made(Small, T, B)[0] if kind == "one step" else None
    truth = Truth(net, x, layout, "m", twin)
    assert all(rate > 0 for rate in truth.firing.values())
    torch.testing.assert_close(rbp.forward(net, x, grad_mode=grad_mode), truth.y)
    torch.testing.assert_close(rbp.forward(net, x, grad_mode=grad_mode, layout=layout), truth.y)


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("layout", [None, "said"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_last_batch_may_be_short(kind: str, layout: str | None, grad_mode: str) -> None:
    own, make = KINDS[kind]
    net, _ = made(make)
    for B in (5, 5, 3, 1):  # three is also the number of steps
        x = torch.randn(3, B, 6, dtype=torch.float64) * 3
        x = x[0] if own == "static" else x
        twin = made(Small)[0] if kind == "one step" else None
        truth = Truth(net, x, own, "m", twin)
        said = None if layout is None else own
        torch.testing.assert_close(rbp.forward(net, x, layout=said, grad_mode=grad_mode), truth.y)


class EitherWay(Small):
    """Whichever axis is three long is time."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.shape[0] == 3 else x.transpose(0, 1)).mean(0)


class NeverApart(Small):
    """Its neurons see time and batch as one axis."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Fails(Small):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("not like this")


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("make", [EitherWay, NeverApart, Fails])
def test_a_layout_that_is_not_clear_is_asked_for(make: Callable[[], nn.Module], grad_mode: str) -> None:
    net, x = made(make)
    before = snapshot(net)
    with pytest.raises(InputError, match=r"layout=.*'TB'.*'BT'"):
        rbp.forward(net, x, grad_mode=grad_mode)
    assert snapshot(net) == before


class Asked(nn.Module):
    """The caller says which axis is time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.net = nn.Conv2d(2, 6, 4), MeanOfSmall()

    def forward(self, x: Tensor, batch_first: bool = False) -> Tensor:
        x = x.transpose(0, 1) if batch_first else x
        return self.net(self.conv(x.flatten(0, 1)).flatten(1).unflatten(0, x.shape[:2]))


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("B", [3, 4])
def test_a_layout_is_found_out_for_each_value_of_an_argument(B: int, grad_mode: str) -> None:
    """Never another's: with as many samples as steps nothing else would tell."""
    torch.manual_seed(0)
    net, x = Asked().double(), torch.randn(3, B, *SHAPE, dtype=torch.float64) * 3
    y = plain(net, x, "TB")
    for batch_first in (False, True, False):
        how: dict[str, Any] = {"kwargs": {"batch_first": batch_first}, "grad_mode": grad_mode}
        torch.testing.assert_close(rbp.forward(net, x, **how), y)


class Noisy(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.randn_like(x))


@pytest.mark.parametrize("layout", ["TB", None])
def test_a_networks_own_noise_is_drawn_as_in_its_own_run(layout: str | None) -> None:
    net, x = made(Noisy)
    torch.manual_seed(1)
    y = plain(net, x, "TB")
    torch.manual_seed(1)
    torch.testing.assert_close(rbp.forward(net, x, layout=layout, grad_mode="bptt"), y)


@pytest.mark.parametrize("layout, B", [("TB", 4), ("TB", 3), ("BT", 4)])
def test_said_it_is_clear(layout: str, B: int) -> None:
    net, x = made(EitherWay, 3, B)
    Truth(net, x, layout).holds(net, x, one_step=False, layout=layout)


def test_a_wrong_name_is_refused() -> None:
    net, x = made(Small)
    with pytest.raises(InputError, match=r"layout='BTC'.*'step', 'TB', 'BT', 'static'"):
        rbp.forward(net, x, layout="BTC")


# --- T ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
@pytest.mark.parametrize("layout", [None, "said"])
@pytest.mark.parametrize("kind", TB_OR_BT)
def test_an_image_with_T_is_shown_at_every_step(
    kind: str, layout: str | None, grad_mode: str, step_mode: str
) -> None:
    own, make = TB_OR_BT[kind]
    net, x = made(make)
    y = plain(net, x[:1].expand(x.shape), own, step_mode)
    said = None if layout is None else own
    how: dict[str, Any] = {"layout": said, "grad_mode": grad_mode, "step_mode": step_mode}
    torch.testing.assert_close(rbp.forward(net, x[0], T=3, **how), y)
    torch.testing.assert_close(rbp.forward(net, x[:1].expand(x.shape), **how), y)


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("kind", [k for k, v in KINDS.items() if v[0] == "static"])
def test_T_is_what_the_network_repeats(kind: str, grad_mode: str) -> None:
    net, x = made(KINDS[kind][1])
    y = plain(net, x[0], "static")
    for layout in ("static", None):
        torch.testing.assert_close(rbp.forward(net, x[0], T=3, layout=layout, grad_mode=grad_mode), y)
    before = snapshot(net)
    with pytest.raises(InputError, match=r"T=2.*3 times"):
        rbp.forward(net, x[0], T=2, layout="static", grad_mode=grad_mode)
    with pytest.raises(InputError, match=r"T=2"):
        rbp.forward(net, x[0], T=2, grad_mode=grad_mode)
    assert snapshot(net) == before


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("layout", ["TB", "BT"])
def test_T_is_checked_against_a_sequence(layout: str, grad_mode: str) -> None:
    plan = Plan(layout, norm="none")
    net, x = Composed(plan, 3).double(), torch.randn(3, 2, *SHAPE, dtype=torch.float64)
    with pytest.raises(InputError, match=r"T=4.*3 steps"):
        rbp.forward(net, x, T=4, layout=layout, grad_mode=grad_mode)


# --- step modes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TB_OR_BT)
def test_step_mode_s_is_sequences_of_one_step(kind: str) -> None:
    layout, make = TB_OR_BT[kind]
    net, x = made(make)
    truth = Truth(net, x, layout, "s")
    truth.holds(net, x, one_step=False, layout=layout, step_mode="s")


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("T, B", [(3, 4), (3, 3)])
def test_batch_norm_in_step_mode_s_is_over_each_step(grad_mode: str, T: int, B: int) -> None:
    for layout in ("TB", "BT"):
        torch.manual_seed(0)
        net, x = Composed(Plan(layout), T).double(), torch.randn(T, B, *SHAPE, dtype=torch.float64) * 2
        truths = {mode: Truth(net, x, layout, mode) for mode in "ms"}
        assert not torch.allclose(truths["m"].y, truths["s"].y)
        for mode, truth in truths.items():
            net.load_state_dict(truth.state)
            y = rbp.forward(net, x, layout=layout, step_mode=mode, grad_mode=grad_mode)
            torch.testing.assert_close(y, truth.y)


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("make", [Repeats, MeanOfRepeats])
@pytest.mark.parametrize("layout", ["static", None])
def test_an_image_has_no_step_mode_s(
    make: Callable[[], nn.Module], layout: str | None, grad_mode: str
) -> None:
    net, x = made(make)
    before = snapshot(net)
    with pytest.raises(InputError, match=r"step_mode='s'.*static.*step_mode='m'"):
        rbp.forward(net, x[0], layout=layout, step_mode="s", grad_mode=grad_mode)
    assert snapshot(net) == before


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
@pytest.mark.parametrize("layout", [None, "said"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_touches_no_step_mode(kind: str, layout: str | None, grad_mode: str, step_mode: str) -> None:
    own, make = KINDS[kind]
    net, x = made(make)
    x = x[0] if own == "static" else x
    before = snapshot(net)
    seen: list[str] = []
    net_lif = next(m for m in net.modules() if isinstance(m, neuron.BaseNode))
    handle = net_lif.register_forward_pre_hook(lambda module, _: seen.append(module.step_mode))
    if own == "static" and step_mode == "s":
        step_mode = "m"
    said = None if layout is None else own
    rbp.forward(net, x, layout=said, grad_mode=grad_mode, step_mode=step_mode).sum().backward()
    handle.remove()
    after = snapshot(net)
    assert after["step modes"] == before["step modes"] and after["memories"] == before["memories"]
    assert after["attributes"] == before["attributes"] and after["hooks"] == before["hooks"]
    if said in ("TB", "BT", "static"):
        assert set(seen) == {"m"}


class Mixed(Small):
    def __init__(self) -> None:
        super().__init__()
        self.other = lif("s")

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.other(self.lif(self.fc(x))))


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
@pytest.mark.parametrize("layout", ["TB", "BT", "static"])
def test_neurons_in_different_step_modes_are_refused(
    layout: str | None, grad_mode: str, step_mode: str
) -> None:
    net, x = made(Mixed)
    if layout == "static":
        x, step_mode = x[0], "m"
    before = snapshot(net)
    with pytest.raises(InputError, match=r"step mode.*functional\.set_step_mode"):
        rbp.forward(net, x, layout=layout, grad_mode=grad_mode, step_mode=step_mode)
    assert snapshot(net) == before


LOOPING = [("TB", Loops), ("static", LoopsOverImage)]


@pytest.mark.parametrize("layout, make", LOOPING)
def test_a_network_that_goes_through_time_itself_runs_once_in_bptt(
    layout: str, make: Callable[[], nn.Module]
) -> None:
    net, x = made(make)
    x = x[0] if layout == "static" else x
    truth = Truth(net, x, layout)
    assert truth.firing["lif"] > 0
    calls: list[int] = []
    handle = net.register_forward_pre_hook(lambda *_: calls.append(1))
    y = rbp.forward(net, x, layout=layout, grad_mode="bptt")
    handle.remove()
    assert len(calls) == 1
    torch.testing.assert_close(y, truth.y)
    y.sum().backward()


@pytest.mark.parametrize("layout, make", LOOPING)
def test_a_network_that_goes_through_time_itself_has_no_rate(
    layout: str, make: Callable[[], nn.Module]
) -> None:
    net, x = made(make)
    before = snapshot(net)
    with pytest.raises(NoRuleError, match=r"step mode 's'.*bptt"):
        rbp.forward(net, x[0] if layout == "static" else x, layout=layout, grad_mode="rate")
    assert snapshot(net) == before


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
@pytest.mark.parametrize("make", [Loops, LoopsOverImage])
def test_a_network_that_goes_through_time_itself_is_none_of_single_steps(
    make: Callable[[], nn.Module], grad_mode: str, step_mode: str
) -> None:
    """With neurons in step mode s it is taken for one of steps: an error of rbp's, or of its own."""
    net, x = made(make)
    before = snapshot(net)
    with pytest.raises((InputError, NoRuleError, RuntimeError)):
        rbp.forward(net, x, grad_mode=grad_mode, step_mode=step_mode)
    assert snapshot(net) == before


@pytest.mark.parametrize("chunk", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_of_steps_change_nothing(kind: str, chunk: int) -> None:
    layout, make = KINDS[kind]
    net, x = made(make)
    x = x[0] if layout == "static" else x
    y, gradients = step(net, x, layout=layout, grad_mode="rate")
    y_chunks, by_chunks = step(net, x, layout=layout, grad_mode="rate", chunk=chunk)
    torch.testing.assert_close(y_chunks, y)
    assert distance(by_chunks, gradients) < 1e-9


# --- what the network returns -------------------------------------------------------------------------------


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("kind", MEANS)
def test_a_time_mean_hides_the_steps(kind: str, grad_mode: str) -> None:
    layout, make = MEANS[kind]
    net, x = made(make)
    before = snapshot(net)
    for said in (layout, None):
        with pytest.raises(InputError, match="per_step=True: the network takes the time mean itself"):
            args = (net, x[0] if layout == "static" else x)
            rbp.forward(*args, layout=said, grad_mode=grad_mode, per_step=True)
    assert snapshot(net) == before


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("B", [4, 3])
@pytest.mark.parametrize("kind", [k for k in KINDS if k not in MEANS])
def test_per_step_is_every_steps_output_time_first(kind: str, B: int, grad_mode: str) -> None:
    layout, make = KINDS[kind]
    net, x = made(make, 3, B)
    x = x[0] if layout == "static" else x
    y = rbp.forward(net, x, layout=layout, grad_mode=grad_mode, per_step=True)
    assert y.shape == (3, B, 5)
    functional.set_step_mode(net, "m")
    functional.reset_net(net)
    own = net(x.transpose(0, 1)).transpose(0, 1) if layout == "BT" else net(x)
    torch.testing.assert_close(y, own)


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_per_step_in_either_step_mode(grad_mode: str, step_mode: str) -> None:
    for make, layout in ((Small, "TB"), (BatchFirst, "BT")):
        net, x = made(make)
        y = rbp.forward(net, x, layout=layout, grad_mode=grad_mode, step_mode=step_mode, per_step=True)
        torch.testing.assert_close(y.mean(0), plain(net, x, layout, step_mode))


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
def test_a_time_mean_of_its_own_is_none_of_a_step(grad_mode: str) -> None:
    """mean(0) of one step [B, K] is the batch's."""
    net, x = made(lambda: MeanOfSmall("s"))
    before = snapshot(net)
    for layout in ("step", None):
        with pytest.raises(InputError, match=r"shape \(5,\).*B=4.*\[B, K\]"):
            rbp.forward(net, x, layout=layout, step_mode="s", grad_mode=grad_mode)
    assert snapshot(net) == before


class Outputs(NamedTuple):
    logits: Tensor
    spikes: Tensor


class Returns(nn.Module):
    """A network whose output is one of what it returns."""

    def __init__(self, net: nn.Module, returned: Any) -> None:
        super().__init__()
        self.net, self.returned = net, returned

    def forward(self, x: Tensor) -> object:
        return self.returned(self.net(x))


RETURNED: list[tuple[Callable[[Tensor], Any], Any]] = [
    (lambda y: {"logits": y, "aux": y * 2}, "logits"),
    (lambda y: Outputs(y, y * 2), "logits"),
    (lambda y: (y, y * 2), 0),
    (lambda y: [y * 2, y], -1),
    (lambda y: {"parts": (y * 2, y)}, lambda out: out["parts"][1]),
    (lambda y: (y * 0.5, y * 0.5), lambda out: out[0] + out[1]),
]


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
@pytest.mark.parametrize("layout", [None, "said"])
@pytest.mark.parametrize("kind", KINDS)
def test_output_picks_one_by_name_number_or_function(
    kind: str, layout: str | None, grad_mode: str, step_mode: str
) -> None:
    own, make = KINDS[kind]
    step_mode = "m" if own == "static" else step_mode
    for returned, output in RETURNED:
        net, x = made(make)
        x = x[0] if own == "static" else x
        how: dict[str, Any] = {
            "layout": None if layout is None else own,
            "grad_mode": grad_mode,
            "step_mode": step_mode,
        }
        y = rbp.forward(net, x, **how)
        picked = rbp.forward(Returns(net, returned), x, output=output, **how)
        torch.testing.assert_close(picked, y)
        assert picked.requires_grad


@pytest.mark.parametrize("grad_mode, step_mode", MODES)
@pytest.mark.parametrize("layout", [None, "said"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_is_not_there_is_named(
    kind: str, layout: str | None, grad_mode: str, step_mode: str
) -> None:
    own, make = KINDS[kind]
    step_mode = "m" if own == "static" else step_mode
    how: dict[str, Any] = {
        "layout": None if layout is None else own,
        "grad_mode": grad_mode,
        "step_mode": step_mode,
    }
    wrong: list[tuple[Callable[[Tensor], Any], Any, str]] = [
        (lambda y: {"logits": y, "aux": y}, "logit", r"output='logit'.*dict of 'logits', 'aux'"),
        (lambda y: (y, y), 2, r"output=2.*tuple of 2"),
        (lambda y: (y, y), "logits", r"output='logits'.*tuple of 2"),
        (lambda y: (y, y), None, r"returned a tuple of 2.*output="),
        (lambda y: {"logits": y}, None, r"returned a dict of 'logits'.*output="),
    ]
    for returned, output, message in wrong:

        def returns(returned: Callable[[Tensor], Any] = returned) -> nn.Module:
            return Returns(make(), returned)

        net, x = made(returns)
        before = snapshot(net)
        with pytest.raises(InputError, match=message):
            rbp.forward(net, x[0] if own == "static" else x, output=output, **how)
        assert snapshot(net) == before


class Scaled(nn.Module):
    """A network with a second argument, a number and a tensor by name."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, scale: float = 1.0, *, mask: Tensor | None = None) -> Tensor:
        x = x * scale
        return self.net(x if mask is None else x * mask)


@pytest.mark.parametrize("layout", [None, "said"])
@pytest.mark.parametrize("kind", KINDS)
def test_kwargs_are_handed_on_at_every_call(kind: str, layout: str | None) -> None:
    own, make = KINDS[kind]
    net, x = made(lambda: Scaled(make()))
    x = x[0] if own == "static" else x
    kwargs = {"scale": 1.5, "mask": torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 1.0], dtype=torch.float64)}
    for step_mode in "m" if own == "static" else "ms":
        twin = made(lambda: Scaled(Small()))[0] if kind == "one step" and step_mode == "m" else None
        truth = Truth(net, x, own, step_mode, twin, **kwargs)
        assert not torch.allclose(truth.y, rbp.forward(net, x, layout=own, step_mode=step_mode))
        said = None if layout is None else own
        truth.holds(net, x, one_step=False, layout=said, step_mode=step_mode, kwargs=kwargs)
