"""A forward and backward pass stays on its device: no tensor of the host is in it, nothing is waited for.

Seen on torch's `meta` device (tests/support/devices.py), so without a GPU. What torch and SpikingJelly wait
for themselves is named towards the end.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import layer, neuron, surrogate
from torch import nn

import rbp
from rbp.rate.neurons import compiled
from rbp.rate.neurons.supported import ELEMENTWISE
from rbp.rate.rules import batchnorm, sync_batchnorm
from tests.support.devices import META, on_meta, watched
from tests.support.golden_vectors import NETS
from tests.support.networks import BPTT, MODES, RATE, lif

pytestmark = pytest.mark.slow

WAYS: list[dict[str, Any]] = [{"grad_mode": g, "step_mode": s} for g, s in MODES]
CHUNKS = {"grad_mode": "rate", "step_mode": "m", "chunk": 2}


def named(how: dict[str, Any]) -> str:
    return "-".join(str(value) for value in how.values())


def found(net: nn.Module, x_seq: torch.Tensor, **how: Any) -> list[str]:
    """The operations of a training step without an optimizer that are not on the device alone."""
    net, x_seq = on_meta(net, x_seq)
    labels = torch.zeros(x_seq.shape[1], dtype=torch.long, device=META)
    with watched() as watch:
        y = rbp.forward(net, x_seq, **how)
        F.cross_entropy(y if y.dim() == 2 else y.mean(0), labels).backward()
    assert y.device == META
    assert all(p.grad is not None and p.grad.device == META for p in net.parameters())
    return watch.found()


def around(*layers: nn.Module) -> nn.Module:
    """Layers that keep the size of [B, 4, 6, 6], before a neuron and behind one."""
    first, last = nn.Conv2d(2, 4, 3), nn.Linear(144, 5)
    return nn.Sequential(first, layers[0], lif(), *layers[1:], lif(), nn.Flatten(), last)


def behind(spiking: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), spiking, nn.Flatten(), nn.Linear(144, 5))


def frames(T: int = 3, channels: int = 2) -> torch.Tensor:
    return torch.zeros(T, 4, channels, 8, 8)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("static", [True, False], ids=["static", "frames"])
@pytest.mark.parametrize("how", [*WAYS, *({**w, "per_step": True} for w in WAYS), CHUNKS], ids=named)
def test_golden_networks_stay_on_their_device(net: str, static: bool, how: dict[str, Any]) -> None:
    x = frames(T=5, channels=3)
    assert not found(NETS[net](), x[0].expand(x.shape) if static else x, **how)


NEURONS: dict[str, Any] = {
    "if": lambda: neuron.IFNode(),
    "if, soft reset": lambda: neuron.IFNode(v_reset=None),
    "lif, decaying input": lambda: lif(decay_input=True),
    "lif, hard reset": lambda: lif(v_reset=0.0),
    "lif, reset to 0.1": lambda: lif(v_reset=0.1, decay_input=True),
    "lif, reset in the graph": lambda: lif(detach_reset=False),
    "lif, all in the graph": lambda: lif(v_reset=0.1, detach_reset=False),
    "plif": lambda: neuron.ParametricLIFNode(),
    "plif, soft reset": lambda: neuron.ParametricLIFNode(v_reset=None, decay_input=False, detach_reset=True),
    "SimpleLIFNode": lambda: neuron.SimpleLIFNode(2.0, True),
}
NEURONS |= {n: getattr(neuron, n) for n in ELEMENTWISE if hasattr(neuron, n) and n not in NEURONS}


@pytest.mark.parametrize("kind", NEURONS)
@pytest.mark.parametrize("how", [*WAYS, CHUNKS], ids=named)
def test_neurons_stay_on_their_device(kind: str, how: dict[str, Any]) -> None:
    assert not found(behind(NEURONS[kind]()), frames(), **how)


def test_a_gated_neuron_stays_on_its_device() -> None:
    """It takes all steps at once."""
    for how in (BPTT, RATE):
        assert not found(behind(neuron.GatedLIFNode(T=3)), frames(), **how)


@pytest.mark.parametrize("kind", ["if", "lif, decaying input", "lif, all in the graph", "plif"])
@pytest.mark.parametrize("how", [w for w in [*WAYS, CHUNKS] if w["grad_mode"] == "rate"], ids=named)
def test_compiled_kernels_get_nothing_from_the_host(
    kind: str, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The functions that torch.compile is given, run as they are; five steps are a segment and one more."""
    monkeypatch.setattr(torch, "compile", lambda function, **how: function)
    monkeypatch.setattr(compiled, "works", lambda device: True)
    monkeypatch.setattr(compiled, "_kernel", compiled._kernel.__wrapped__)
    compiled.ran.clear()
    assert not found(behind(NEURONS[kind]()), frames(T=5), kernels="compiled", **how)
    assert compiled.what_ran() == "compiled"


BY_MASK = {"LogTailedReLU"}  # writes x[mask], which counts the places on the host
SURROGATES = {
    name: kind
    for name, kind in vars(surrogate).items()
    if isinstance(kind, type)
    and issubclass(kind, surrogate.SurrogateFunctionBase)
    and not name.endswith("Base")
    and name not in {*BY_MASK, "MultiLevelSpikeCount"}  # (which emits more levels than 0 and 1)
}


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("how", WAYS, ids=named)
def test_surrogates_stay_on_their_device(name: str, how: dict[str, Any]) -> None:
    assert not found(behind(lif(surrogate_function=SURROGATES[name]())), frames(), **how)


LAYERS: dict[str, Any] = {
    "batch norm": lambda: nn.BatchNorm2d(4),
    "batch norm without weights": lambda: nn.BatchNorm2d(4, affine=False),
    "batch norm in evaluation": lambda: nn.BatchNorm2d(4).eval(),
    "sync batch norm": lambda: nn.SyncBatchNorm(4),
    "layer norm": lambda: nn.LayerNorm([4, 6, 6]),
    "group norm": lambda: nn.GroupNorm(2, 4),
    "dropout": lambda: nn.Dropout(),
    "dropout of channels": lambda: nn.Dropout2d(),
    "average pool": lambda: nn.AvgPool2d(3, 1, 1),
    "max pool": lambda: nn.MaxPool2d(3, 1, 1),
    "conv": lambda: nn.Conv2d(4, 4, 3, padding="same", padding_mode="reflect"),
    "transposed conv": lambda: nn.ConvTranspose2d(4, 4, 3, padding=1),
    "upsample": lambda: nn.Upsample(size=6),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("how", [*WAYS, CHUNKS], ids=named)
def test_layers_stay_on_their_device(kind: str, how: dict[str, Any]) -> None:
    assert not found(around(LAYERS[kind](), LAYERS[kind]()), frames(), **how)


@pytest.mark.parametrize("how", [w for w in [*WAYS, CHUNKS] if w["grad_mode"] == "rate"], ids=named)
def test_a_cumulative_average_of_statistics_stays_on_its_device(how: dict[str, Any]) -> None:
    assert not found(around(nn.BatchNorm2d(4, momentum=None)), frames(), **how)


@pytest.mark.parametrize("how", WAYS, ids=named)
def test_wrapped_layers_stay_on_their_device(how: dict[str, Any]) -> None:
    """SpikingJelly's, to which step mode m shows the time axis."""
    net = nn.Sequential(layer.Conv2d(2, 4, 3), layer.BatchNorm2d(4), lif(), layer.Flatten())
    net.append(layer.Linear(144, 5))
    assert not found(net, frames(), **how)


@pytest.mark.parametrize("how", WAYS, ids=named)
def test_statistics_of_several_ranks_stay_on_their_device(
    how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_batchnorm, "is_synchronised", lambda layer: True)
    monkeypatch.setattr(sync_batchnorm, "dist", Others())
    assert not found(around(nn.SyncBatchNorm(4)), frames(), **how)


class Others:
    """Stands for torch.distributed, in a world of two that have seen the same."""

    def get_world_size(self, group: Any) -> int:
        return 2

    def all_gather(self, everyone: list[torch.Tensor], mine: torch.Tensor, group: Any) -> None:
        for theirs in everyone:
            theirs.copy_(mine)

    def all_reduce(self, totals: torch.Tensor, group: Any) -> None:
        totals.mul_(2)


# --- the same bits, whether a number comes from the host or not ---------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 127, 100_352, 51_380_224])
def test_a_count_on_the_device_gives_the_variance_that_a_number_gives(n: int) -> None:
    by_number, by_count = nn.BatchNorm2d(16), nn.BatchNorm2d(16)
    mean, var = torch.randn(16), torch.rand(16)
    batchnorm.update_running(by_number, mean, var, n)
    batchnorm.update_running(by_count, mean, var, torch.tensor(n))
    one, other = by_number.running_var, by_count.running_var
    assert one is not None and other is not None and torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_cumulative_average_has_the_bits_of_one_by_number(dtype: torch.dtype) -> None:
    ours, means = nn.BatchNorm2d(16, momentum=None).to(dtype), torch.randn(200, 16, dtype=dtype)
    by_number = torch.zeros(16, dtype=dtype)
    for i, mean in enumerate(means):
        batchnorm.update_running(ours, mean, mean.square(), 8)
        by_number.lerp_(mean, 1.0 / (i + 1))
        assert ours.running_mean is not None and torch.equal(ours.running_mean, by_number)


# --- what others wait for -----------------------------------------------------------------------------------


def test_torchs_own_cumulative_average_waits_in_bptt() -> None:
    with pytest.raises(RuntimeError, match="item"):
        found(around(nn.BatchNorm2d(4, momentum=None)), frames(), **BPTT)


@pytest.mark.parametrize("name", sorted(BY_MASK))
@pytest.mark.parametrize("how", WAYS, ids=named)
def test_a_surrogate_that_chooses_by_a_mask_waits(name: str, how: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError, match="nonzero"):
        found(behind(lif(surrogate_function=getattr(surrogate, name)())), frames(), **how)


# --- the watch itself ---------------------------------------------------------------------------------------


def test_the_watch_sees_what_is_made_on_the_host_and_what_waits() -> None:
    x, host = torch.zeros(3, device=META), torch.ones(3)
    with watched() as watch:
        torch.tensor([1.0], device=META)
        x + torch.tensor(1.0)
        host.to(META)
        host.to(META, non_blocking=True)
        host + 1
    assert len(watch.crossing) == 3 and len(watch.waiting) == 3  # the sum, two copies; the list, sum, copy
    assert watch.on_host == ["torch.tensor", "torch.tensor", "aten.lift_fresh.default", "aten.add.Tensor"]
    for read in (
        x.tolist,
        x.cpu,
        x.sum().item,
        lambda: bool(x[0]),
        lambda: x[x > 0],
        lambda: torch.equal(x, x),
    ):
        with pytest.raises((NotImplementedError, RuntimeError)):
            read()
