"""The golden vectors (tests/rate/golden/README.md): their four networks, written as plain torch modules, and
one training step of the network of a file.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rbp
import rbp.check
from rbp.check.networks import Net, plain, residual
from tests.support.networks import lif

# Those of `rbp check` travel in the package.
FOLDERS = (Path(__file__).parents[1] / "rate" / "golden", Path(rbp.check.__file__).parent / "golden")
PATHS = {path.stem: path for folder in FOLDERS for path in folder.glob("*.npz")}
PATHS = {name: path for name, path in PATHS.items() if name.split("-")[6] in ("bptt", "rate")}
FILES = sorted(PATHS)


def conv_bn_lif(c_in: int, c_out: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, stride, padding), nn.BatchNorm2d(c_out), lif())


class Sew(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.convNeuron1 = conv_bn_lif(c_in, c_out, 3, stride, 1)
        self.convNeuron2 = conv_bn_lif(c_out, c_out, 3, 1, 1)
        self.downsample = conv_bn_lif(c_in, c_out, 1, stride, 0) if stride != 1 else None

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return self.convNeuron2(self.convNeuron1(x)) + identity


class PreAct(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.lif1, self.conv1 = lif(), nn.Conv2d(c_in, c_out, 3, stride, 1)
        self.bn1, self.lif2 = nn.BatchNorm2d(c_out), lif()
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, 3, 1, 1), nn.BatchNorm2d(c_out)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return self.bn2(self.conv2(self.lif2(self.bn1(self.conv1(self.lif1(x)))))) + identity


def head(features: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 5)]


def sew() -> Net:
    stem = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), lif(), nn.MaxPool2d(3, 2, 1)]
    return Net(*stem, Sew(8, 8, 1), Sew(8, 16, 2), *head(16))


def preact() -> Net:
    stem = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)]
    return Net(*stem, PreAct(8, 8, 1), PreAct(8, 16, 2), *head(16))


NETS: dict[str, Callable[[], Net]] = {"plain": plain, "residual": residual, "sew": sew, "preact": preact}


def load(name: str) -> tuple[Net, dict[str, Tensor]]:
    """Network with the file's weights, input as the file has it, and the arrays."""
    arrays = {key: torch.from_numpy(np.asarray(a)) for key, a in np.load(PATHS[name]).items()}
    net = NETS[name.split("-")[0]]()
    weights = {key[6:]: a for key, a in arrays.items() if key.startswith("param/")}
    missing, unexpected = net.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all("running" in key or "num_batches" in key for key in missing)
    return net, arrays


def step(
    name: str, grad_mode: str | None = None, change: Callable[[nn.Module], Any] = lambda net: None, **how: Any
) -> tuple[Net, dict[str, Tensor], Tensor, Tensor]:
    """The network, its gradients filled, the file's arrays, the output and the loss of a training step."""
    net, arrays = load(name)
    change(net)
    _, _, _, frames, step_mode, _, mode, _ = name.split("-")
    T = int(arrays["T"])
    x = arrays["x"].to(next(net.parameters()).dtype)
    x_seq = x if frames == "frames" else x.expand(T, *x.shape)
    logits = rbp.forward(net, x_seq, step_mode=step_mode, grad_mode=grad_mode or mode, **how)
    loss = F.cross_entropy(logits, arrays["y"])
    loss.backward()
    return net, arrays, logits, loss


def relative(a: Tensor | None, b: Tensor | None) -> float:
    """How far a is from b, as a share of b; a gradient that is missing fails."""
    assert a is not None and b is not None
    return float((a - b).norm() / b.norm().clamp(min=1e-12))


def before_norm(name: str, net: nn.Module) -> bool:
    """A bias ahead of a batch normalisation: its true gradient is 0, what is stored is rounding."""
    if not name.endswith("bias"):
        return False
    module = net.get_submodule(name.removesuffix(".bias"))
    return isinstance(module, nn.Conv2d)
