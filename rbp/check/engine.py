"""Check of the engine's gradients on this device, against the authors' codes' numbers and against BPTT.

Rate-BP is compared with BPTT only where the two agree. In lower precision, a membrane potential near the
threshold may end up on the other side of it, so that whole spikes appear or vanish. There, the share of
flipped spikes and the cosine of the gradients are judged, not elementwise differences.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rbp.check.finding import Finding, absent, ok, wrong
from rbp.check.networks import NETS, lif, one_hidden_layer
from rbp.gradients import backward
from rbp.gradients.online import ONLINE
from rbp.rate import forward

Gradients = dict[str, Tensor]

# Golden files, named NET-...-INPUT-STEP_MODE-T-GRAD_MODE-SEED, and the tolerated relative distance, which
# allows for the published code's own error.
GOLDEN = {
    "plain-lam0.2-vth1.0-frames-m-T5-bptt-s1": 1e-4,
    "plain-lam0.2-vth1.0-frames-m-T5-rate-s1": 1e-4,
    "residual-lam0.2-vth1.0-static-m-T5-bptt-s1": 1e-4,
    "residual-lam0.2-vth1.0-static-m-T5-rate-s1": 1e-4,
    "plain-lam0.2-vth1.0-static-s-T5-bptt-s1": 1e-4,
    "plain-lam0.2-vth1.0-static-s-T5-rate-s1": 3e-4,  # its batch normalisation adds eps twice
    "plain-lam0.2-vth1.0-static-s-T4-sltt-s1": 1e-4,
    "plain-lam0.2-vth1.0-static-s-T4-ottt-s1": 1e-4,
}
DEEPEST = "residual-lam0.2-vth1.0-static-m-T5-rate-s1"
# Compiling takes seconds per kernel: these golden files need few, and BPTT needs none.
COMPILED = ("plain-lam0.2-vth1.0-frames-m-T5-rate-s1",)
LEAST_COSINE = 0.9  # in lower precision; the cosine of a wrong gradient is far lower
MOST_FLIPPED = 0.05


@dataclass(frozen=True)
class Variant:
    """A way to compute the same gradients: kernels, memory layout and precision."""

    name: str
    kernels: str = "plain"
    channels_last: bool = False
    tf32: bool = False
    bf16: bool = False

    @property
    def rounds(self) -> bool:
        """Whether the variant computes in lower precision than float32."""
        return self.tf32 or self.bf16


FLOAT32 = Variant("float32")
VARIANTS = (
    FLOAT32,
    Variant("channels_last", channels_last=True),
    Variant("TF32", tf32=True),
    Variant("bf16 autocast", bf16=True),
    Variant("compiled kernels", kernels="compiled"),
)


@dataclass(frozen=True)
class GradientCheck:
    """Comparison of one network's gradients with the reference.

    Attributes:
        what: Description of the comparison.
        distance: Norm of the difference relative to the norm of the reference.
        cosine: Cosine similarity to the reference.
        tolerance: Distance up to which the gradients count as equal.
        flipped: Share of spikes that differ from those in float32.
    """

    what: str
    distance: float
    cosine: float
    tolerance: float
    flipped: float


def check_engine(device: torch.device, variant: Variant) -> Finding:
    """Run every comparison of one variant on a device."""
    if variant.tf32 and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        return absent("TF32 is of NVIDIA GPUs since Ampere")
    found = list(_comparisons(device, variant))
    worst = max(found, key=lambda c: c.distance / c.tolerance)
    if bad := [c for c in found if not _is_right(c, variant)]:
        summary = "; ".join(f"{c.what}: off by {c.distance:.1e}, cosine {c.cosine:.4f}" for c in bad)
        return wrong(summary, "do not train so here; report it with the output of rbp check --json")
    if worst.distance <= worst.tolerance:
        return ok(f"{len(found)} gradients, the worst off by {worst.distance:.0e}")
    flipped, cosine = max(c.flipped for c in found), min(c.cosine for c in found)
    return ok(f"{len(found)} gradients, {flipped:.2%} of spikes flipped, cosine {cosine:.4f} or more")


def _is_right(c: GradientCheck, variant: Variant) -> bool:
    """Whether a comparison passes."""
    if c.distance <= c.tolerance:
        return True
    # In float32 too, a different order of sums may flip a spike.
    may_flip = variant.rounds or c.flipped > 0
    return may_flip and c.flipped <= MOST_FLIPPED and c.cosine >= LEAST_COSINE


def _comparisons(device: torch.device, variant: Variant) -> Iterator[GradientCheck]:
    """Yield all comparisons of a variant, with golden files and with BPTT."""
    compiled = variant.kernels == "compiled"
    for name in COMPILED if compiled else GOLDEN:
        yield _with_golden(name, GOLDEN[name], device, variant)
    for step_mode in ("m",) if compiled else ("m", "s"):
        of = "plain-lam0.2-vth1.0-static-s-T5-rate-s1" if compiled else DEEPEST
        net, x, y = _golden_network(of, device)
        yield _with_bptt(f"T=1, step mode {step_mode}", net, x[None], y, step_mode, variant)
        net = _seeded(one_hidden_layer).to(device)
        x_seq = x.expand(4, *x.shape)
        yield _with_bptt(f"one hidden layer, step mode {step_mode}", net, x_seq, y, step_mode, variant)


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


def _with_golden(name: str, tolerance: float, device: torch.device, variant: Variant) -> GradientCheck:
    """Compare the gradients of a golden file's network with those in the file."""
    _, _, _, frames, step_mode, steps, grad_mode, _ = name.split("-")
    net, x, y = _golden_network(name, device)
    T = int(steps[1:])
    x_seq = x if frames == "frames" else x.expand(T, *x.shape)
    scale = T if grad_mode == "rate" else 1  # the published code divides rate mode's loss by T
    return _compared(
        f"{name.split('-')[0]}, T={T}, step mode {step_mode}, {grad_mode}",
        gradients(net, x_seq, y, step_mode, grad_mode, variant),
        {k: g * scale for k, g in _part(name, "grad/").items()},
        tolerance,
        flipped(net, x_seq, variant),
    )


def _with_bptt(
    what: str, net: nn.Module, x_seq: Tensor, y: Tensor, step_mode: str, variant: Variant
) -> GradientCheck:
    """Compare rate mode with BPTT on a network for which the two agree."""
    rate, bptt = (gradients(net, x_seq, y, step_mode, mode, variant) for mode in ("rate", "bptt"))
    return _compared(f"rate against BPTT, {what}", rate, bptt, 1e-4, flipped(net, x_seq, variant))


def _golden_network(name: str, device: torch.device) -> tuple[nn.Module, Tensor, Tensor]:
    """Return the network of a golden file with its weights, its input and its labels."""
    net = NETS[name.split("-")[0]]()
    # strict=False: running statistics are not loaded, they keep their initial values.
    net.load_state_dict(_part(name, "param/"), strict=False)
    arrays = _arrays(name)
    return net.to(device), arrays["x"].to(device), arrays["y"].to(device)


@functools.cache
def _arrays(name: str) -> Gradients:
    with np.load(str(files("rbp.check") / "golden" / f"{name}.npz")) as arrays:
        return {key: torch.from_numpy(array) for key, array in arrays.items()}


def _part(name: str, prefix: str) -> Gradients:
    """Return the arrays of a golden file whose keys begin with `prefix`, by the rest of the key."""
    return {k.removeprefix(prefix): a for k, a in _arrays(name).items() if k.startswith(prefix)}


def gradients(
    net: nn.Module, x_seq: Tensor, y: Tensor, step_mode: str, grad_mode: str, variant: Variant
) -> Gradients:
    """Return every parameter's gradient of the mean cross-entropy, in float32 on the CPU.

    Biases of convolutions are left out, see `_is_before_norm`.

    Args:
        net: The network.
        x_seq: Input [T, B, C, H, W].
        y: Labels [B].
        step_mode: "m" or "s".
        grad_mode: "rate" or "bptt"; "sltt" or "ottt", of the mean of each step's cross-entropy.
        variant: Kernels, layout and precision.
    """
    if variant.channels_last:
        net = net.to(memory_format=torch.channels_last)
        x_seq = _channels_last(x_seq)
    net.zero_grad(set_to_none=True)
    if grad_mode in ONLINE:
        with _precision(variant, x_seq.device):
            backward(net, x_seq, lambda logits: F.cross_entropy(logits, y), grad_mode=grad_mode)
        return _gradients(net)
    with _precision(variant, x_seq.device):
        logits = forward(net, x_seq, step_mode=step_mode, grad_mode=grad_mode, kernels=variant.kernels)
    with _precision(Variant("", tf32=variant.tf32), x_seq.device):
        F.cross_entropy(logits.float(), y).backward()
    return _gradients(net)


def _gradients(net: nn.Module) -> Gradients:
    return {
        name: p.grad.float().cpu().clone()
        for name, p in net.named_parameters()
        if p.grad is not None and not _is_before_norm(name, net)
    }


def _is_before_norm(name: str, net: nn.Module) -> bool:
    """Whether a name is the bias of a convolution before batch normalisation.

    Its gradient is 0 except for rounding.
    """
    return name.endswith("bias") and isinstance(net.get_submodule(name.rpartition(".")[0]), nn.Conv2d)


def _channels_last(x_seq: Tensor) -> Tensor:
    """Lay out [T, B, C, H, W] with channels last in each step; a static image stays a view of stride 0."""
    if x_seq.stride(0) == 0:
        return x_seq[0].contiguous(memory_format=torch.channels_last).expand(x_seq.shape)
    return x_seq.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x_seq.shape[:2])


@contextlib.contextmanager
def _precision(variant: Variant, device: torch.device) -> Iterator[None]:
    """Set TF32 and autocast to the variant's settings inside the block, and restore TF32 afterwards."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = variant.tf32
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=variant.bf16):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def flipped(net: nn.Module, x_seq: Tensor, variant: Variant) -> float:
    """Return the share of spikes, over all layers and steps, that differ between this variant and float32."""
    theirs, ours = (_spikes(net, x_seq, v) for v in (FLOAT32, variant))
    return float(sum((a != b).sum() for a, b in zip(theirs, ours, strict=True))) / sum(
        s.numel() for s in ours
    )


def _spikes(net: nn.Module, x_seq: Tensor, variant: Variant) -> list[Tensor]:
    """Return the spikes of every layer at every step, as float tensors."""
    found: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda module, args, out: found.append(out.float()))
        for module in net.modules()
        if isinstance(module, type(lif()))
    ]
    x_seq = _channels_last(x_seq) if variant.channels_last else x_seq
    try:
        with torch.no_grad(), _precision(variant, x_seq.device):
            forward(net, x_seq, step_mode="s", grad_mode="bptt")
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _compared(
    what: str, found: Gradients, truth: Gradients, tolerance: float, flipped: float
) -> GradientCheck:
    """Compare gradients with the reference `truth`."""
    a = torch.cat([found[name].flatten() for name in found])
    b = torch.cat([truth[name].flatten() for name in found])
    distance = float((a - b).norm() / b.norm().clamp(min=1e-12))
    return GradientCheck(what, distance, float(F.cosine_similarity(a, b, dim=0)), tolerance, flipped)
