"""What `rbp check` says of the engine: right here, and wrong where a gradient is."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rbp.check import engine
from rbp.check.engine import FLOAT32, GOLDEN, VARIANTS, GradientCheck, Variant, check_engine, gradients
from rbp.check.networks import one_hidden_layer

CPU = torch.device("cpu")
BY_NAME = {variant.name: variant for variant in VARIANTS}


@pytest.mark.parametrize("name", ["float32", "channels_last", "bf16 autocast"])
def test_the_engine_is_right_on_this_cpu(name: str) -> None:
    found = check_engine(CPU, BY_NAME[name])
    assert found.status == "ok" and f"{len(GOLDEN) + 4} gradients" in found.summary
    assert ("of spikes flipped" in found.summary) == (name == "bf16 autocast")


@pytest.mark.slow
def test_compiled_kernels_are_right_on_this_cpu() -> None:
    assert check_engine(CPU, BY_NAME["compiled kernels"]).status == "ok"


def test_tf32_is_left_to_gpus() -> None:
    assert check_engine(CPU, BY_NAME["TF32"]).status == "absent"


@pytest.mark.gpu
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_engine_is_right_on_this_gpu(variant: Variant) -> None:
    found = check_engine(torch.device("cuda"), variant)
    assert found.status in ("ok", "absent"), found


def test_one_hidden_layer_is_where_rate_mode_is_exact() -> None:
    torch.manual_seed(1)
    net, x, y = one_hidden_layer().double(), torch.rand(4, 3, 8, 8).double(), torch.arange(4)
    x_seq = x.expand(5, *x.shape)
    rate, bptt = (gradients(net, x_seq, y, "m", mode, FLOAT32) for mode in ("rate", "bptt"))
    assert all(torch.allclose(rate[name], bptt[name], atol=1e-7) for name in bptt)


@pytest.mark.parametrize(("off", "status"), [(1e-6, "ok"), (1e-3, "wrong"), (0.3, "wrong")])
@pytest.mark.parametrize("mode", ["bptt", "rate"])
def test_a_gradient_that_is_off_in_float32_is_wrong(
    monkeypatch: pytest.MonkeyPatch, off: float, status: str, mode: str
) -> None:
    own = engine.forward

    def forward(net: torch.nn.Module, x_seq: Tensor, **how: Any) -> Tensor:
        y = own(net, x_seq, **how)
        if how["grad_mode"] == mode and y.requires_grad:
            y.register_hook(lambda grad: grad * (1 + off))
        return y

    monkeypatch.setattr(engine, "forward", forward)
    found = check_engine(CPU, FLOAT32)
    assert found.status == status
    assert status == "ok" or (mode in found.summary.lower() and "do not train" in found.advice)


@pytest.mark.parametrize(
    ("variant", "distance", "cosine", "flipped", "right"),
    [
        ("float32", 1e-5, 1.0, 0.0, True),
        ("float32", 1e-2, 0.9999, 0.0, False),  # no spike flipped: nothing excuses it
        ("float32", 1e-2, 0.9999, 0.001, True),
        ("bf16 autocast", 0.2, 0.98, 0.03, True),
        ("bf16 autocast", 0.2, 0.98, 0.2, False),
        ("bf16 autocast", 0.9, 0.5, 0.01, False),
        ("compiled kernels", 1e-2, 0.9999, 0.0, False),
    ],
)
def test_flipped_spikes_are_judged_by_the_cosine(
    variant: str, distance: float, cosine: float, flipped: float, right: bool
) -> None:
    comparison = GradientCheck("", distance, cosine, 1e-4, flipped)
    assert engine._is_right(comparison, BY_NAME[variant]) == right


def test_precision_is_as_it_was_afterwards() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with engine._precision(Variant("", tf32=True, bf16=True), CPU):
        assert torch.backends.cudnn.allow_tf32 and torch.is_autocast_enabled("cpu")
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    assert not torch.is_autocast_enabled("cpu")
