"""The golden vectors (tests/rate/golden/README.md): their four networks, written as plain torch modules, and
one training step of the network of a file.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rbp
from tests.support.networks import lif

GOLDEN = Path(__file__).parents[1] / "rate" / "golden"
FILES = sorted(p.stem for p in GOLDEN.glob("*.npz"))


class Residual(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1, self.lif1 = nn.BatchNorm2d(c_out), lif()
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2, self.lif2 = nn.BatchNorm2d(c_out), lif()
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.lif1(self.bn1(self.conv1(x)))))
        return self.lif2(out + self.shortcut(x))


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


class Net(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def head(features: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 5)]


def plain() -> Net:
    first = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), lif(), nn.AvgPool2d(2)]
    second = [nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), lif(), nn.AvgPool2d(2)]
    return Net(*first, *second, nn.Flatten(), nn.Linear(64, 5))


def residual() -> Net:
    stem = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), lif()]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 12), lif(), nn.Linear(12, 5)]
    return Net(*stem, Residual(8, 8, 1), Residual(8, 16, 2), *end)


def sew() -> Net:
    stem = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), lif(), nn.MaxPool2d(3, 2, 1)]
    return Net(*stem, Sew(8, 8, 1), Sew(8, 16, 2), *head(16))


def preact() -> Net:
    stem = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)]
    return Net(*stem, PreAct(8, 8, 1), PreAct(8, 16, 2), *head(16))


NETS: dict[str, Callable[[], Net]] = {"plain": plain, "residual": residual, "sew": sew, "preact": preact}


def load(name: str):
    """Network with the file's weights, input as the file has it, and the arrays."""
    arrays = {key: torch.from_numpy(np.asarray(a)) for key, a in np.load(GOLDEN / f"{name}.npz").items()}
    net = NETS[name.split("-")[0]]()
    weights = {key[6:]: a for key, a in arrays.items() if key.startswith("param/")}
    missing, unexpected = net.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all("running" in key or "num_batches" in key for key in missing)
    return net, arrays


def step(name: str, grad_mode: str | None = None, change=lambda net: None, **how):
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


def relative(a, b) -> float:
    return float((a - b).norm() / b.norm().clamp(min=1e-12))


def before_norm(name: str, net) -> bool:
    """A bias ahead of a batch normalisation: its true gradient is 0, what is stored is rounding."""
    if not name.endswith("bias"):
        return False
    module = net.get_submodule(name.removesuffix(".bias"))
    return isinstance(module, nn.Conv2d)
