"""Small networks composed of the ways in which people write time into spiking networks."""

from typing import Any, NamedTuple

import einops
import torch
from spikingjelly.activation_based import layer, neuron, surrogate
from timm.layers import DropPath
from torch import Tensor, nn

WIDTH = 8
SHAPE = (2, 4, 4)  # of one image


class Plan(NamedTuple):
    """What a network does.

    layout: what it sees; inside: the order of axes in which it works, "TB" or "BT" (layout "step": neither).
    fold: how it joins time and batch; repeat: how it repeats an image, `late`: after its first layer.
    bodies: what follows the first neurons; end: how time leaves.
    """

    layout: str = "TB"
    inside: str = "TB"
    fold: str = "flatten"
    repeat: str = "repeat"
    late: bool = False
    enter: str = "transpose"
    norm: str = "batch"
    node: str = "lif soft"
    time_embedding: bool = False
    class_token: bool = False
    bodies: tuple[str, ...] = ()
    residual: bool = True
    drop_path: bool = False
    end: str = "steps"


FOLDS = ("flatten", "view", "reshape", "rearrange", "own container", "SeqToANNContainer")
REPEATS = ("repeat", "expand", "stack", "einops")
ENTERS = ("transpose", "permute", "rearrange")
NORMS = ("none", "batch", "group")
NODES = ("lif soft", "lif hard", "if", "plif")
BODIES = (
    "linear",
    "linear, nothing folded",
    "layer norm",
    "batch norm of tokens",
    "attention",
    "folded attention",
)
ENDS = ("steps", "mean", "mean before head", "sum", "last", "reduce")


def node(kind: str, step_mode: str) -> nn.Module:
    how: dict[str, Any] = {"v_threshold": 0.2, "detach_reset": True, "step_mode": step_mode}
    how["surrogate_function"] = surrogate.Sigmoid(4.0)
    if kind == "if":
        return neuron.IFNode(**how)
    if kind == "plif":
        return neuron.ParametricLIFNode(init_tau=1.6, decay_input=False, v_reset=None, **how)
    reset = None if kind == "lif soft" else 0.0
    return neuron.LIFNode(tau=1.6, decay_input=False, v_reset=reset, **how)


def norm(kind: str) -> nn.Module:
    kinds = {"batch": nn.BatchNorm2d(WIDTH), "group": nn.GroupNorm(2, WIDTH), "none": nn.Identity()}
    return kinds[kind]


class OwnContainer(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.shape[:2]
        x = x.flatten(0, 1)
        for module in self.layers:
            x = module(x)
        return x.view(first, second, *x.shape[1:])


class Base(nn.Module):
    """What a network and its parts share."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def per_step(self, *layers: nn.Module) -> nn.Module:
        """Layers that see single steps; what `folded` calls."""
        if self.plan.layout != "step" and self.plan.fold == "own container":
            return OwnContainer(*layers)
        if self.plan.layout != "step" and self.plan.fold == "SeqToANNContainer":
            return layer.SeqToANNContainer(*layers)
        return nn.Sequential(*layers)

    def folded(self, module: nn.Module, x: Tensor, *, entry: bool = False) -> Tensor:
        """entry: of the network's own input, which lies in memory as it was made."""
        fold = self.plan.fold
        if self.plan.layout == "step" or fold in ("own container", "SeqToANNContainer"):
            return module(x)
        if entry and fold == "view":
            return self.unfold(module(x.view(-1, *x.shape[2:])), *x.shape[:2])
        return self.unfold(module(self.fold(x)), *x.shape[:2])

    def fold(self, x: Tensor) -> Tensor:
        if self.plan.layout == "step":
            return x
        if self.plan.fold == "view":
            return x.contiguous().view(x.shape[0] * x.shape[1], *x.shape[2:])
        if self.plan.fold == "reshape":
            return x.reshape(-1, *x.shape[2:])
        if self.plan.fold == "rearrange":
            return einops.rearrange(x, "t b ... -> (t b) ...")
        return x.flatten(0, 1)

    def unfold(self, y: Tensor, first: int, second: int) -> Tensor:
        if self.plan.layout == "step":
            return y
        if self.plan.fold == "view":
            return y.view(first, second, *y.shape[1:])
        if self.plan.fold == "reshape":
            return y.reshape(first, second, *y.shape[1:]).contiguous()
        if self.plan.fold == "rearrange":
            return einops.rearrange(y, "(t b) ... -> t b ...", t=first)
        return y.unflatten(0, (first, second))

    def node(self) -> nn.Module:
        return node(self.plan.node, "s" if self.plan.layout == "step" else "m")

    def fire(self, node: nn.Module, x: Tensor) -> Tensor:
        """Neurons take time first."""
        if self.plan.layout != "step" and self.plan.inside == "BT":
            return node(x.transpose(0, 1)).transpose(0, 1)
        return node(x)


class TokenLayers(Base):
    """Linear layers, layer norm or batch norm of tokens [.., N, C], and neurons."""

    def __init__(self, plan: Plan, kind: str) -> None:
        super().__init__(plan)
        self.kind = kind
        linear = nn.Linear(WIDTH, 2 * WIDTH)
        normed = [linear, nn.LayerNorm(2 * WIDTH)] if kind == "layer norm" else [linear]
        self.first = nn.Sequential(*normed) if kind == "linear, nothing folded" else self.per_step(*normed)
        self.bn = nn.BatchNorm1d(2 * WIDTH) if kind == "batch norm of tokens" else None
        self.spike, self.last = self.node(), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "linear, nothing folded":
            y = self.first(x)
        elif self.bn is None:
            y = self.folded(self.first, x)
        else:
            lead = x.shape[:2]
            y = self.folded(self.first, x)
            y = self.unfold(self.bn(self.fold(y).transpose(-1, -2)).transpose(-1, -2), *lead)
        return self.last(self.fire(self.spike, y))


class Attention(Base):
    """Spiking self-attention of tokens: q, k and v spike, no softmax."""

    def __init__(self, plan: Plan, kind: str) -> None:
        super().__init__(plan)
        self.folds = kind == "folded attention"
        self.qkv = self.per_step(nn.Linear(WIDTH, 3 * WIDTH))
        self.spike, self.after = self.node(), self.node()
        self.last = self.per_step(nn.Linear(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        lead = x.shape[:2]
        qkv = self.fire(self.spike, self.folded(self.qkv, x))
        if self.folds:
            q, k, v = self.fold(qkv).chunk(3, dim=-1)
            y = self.unfold((q @ k.transpose(-2, -1)) @ v * 0.25, *lead)
        else:
            *first, N, _ = qkv.shape
            heads = qkv.reshape(*first, N, 3, 2, WIDTH // 2)
            q, k, v = (heads.select(-3, i).transpose(-3, -2) for i in range(3))  # [.., heads, N, C]
            y = ((q @ k.transpose(-2, -1)) @ v * 0.25).transpose(-3, -2).reshape(*first, N, WIDTH)
        return self.folded(self.last, self.fire(self.after, y))


class Composed(Base):
    def __init__(self, plan: Plan, T: int) -> None:
        super().__init__(plan)
        self.T = T
        self.stem = self.per_step(nn.Conv2d(2, WIDTH, 3, padding=1), norm(plan.norm))
        self.still = nn.Sequential(nn.Conv2d(2, WIDTH, 3, padding=1), norm(plan.norm))  # of the image alone
        self.spike = self.node()
        lead = (1, T) if plan.inside == "BT" else (T, 1)
        self.embedding = nn.Parameter(torch.randn(*lead, WIDTH, 1, 1)) if plan.time_embedding else None
        self.token = nn.Parameter(torch.rand(1, WIDTH)) if plan.class_token else None
        self.pool = self.per_step(nn.AvgPool2d(2))
        parts = [(Attention if "attention" in kind else TokenLayers)(plan, kind) for kind in plan.bodies]
        self.bodies = nn.ModuleList(parts)
        self.drop_path = DropPath(0.4).eval() if plan.drop_path else nn.Identity()
        self.neck, self.before_head = self.per_step(nn.Linear(WIDTH, WIDTH)), self.node()
        self.head = nn.Linear(WIDTH, 5)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.weight.mul_(3.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.currents(x)
        x = x if self.embedding is None else x + self.embedding
        x = self.folded(self.pool, self.fire(self.spike, x))
        x = x.flatten(-2).transpose(-1, -2)  # tokens [.., N, C]
        if self.token is not None:
            x = torch.cat((self.token.expand(*x.shape[:-2], 1, WIDTH), x), dim=-2)
        for body in self.bodies:
            x = self.drop_path(body(x)) + x if self.plan.residual else self.drop_path(body(x))
        x = x.mean(-2) if self.token is None else x[..., 0, :]
        return self.left(self.fire(self.before_head, self.folded(self.neck, x)))

    def currents(self, x: Tensor) -> Tensor:
        """What the first neurons take, with time and batch in the order inside."""
        if self.plan.layout == "static":
            return (
                self.repeated(self.still(x)) if self.plan.late else self.folded(self.stem, self.repeated(x))
            )
        if self.plan.layout not in ("step", self.plan.inside):
            return self.folded(self.stem, self.moved(x))
        return self.folded(self.stem, x, entry=True)

    def moved(self, x: Tensor) -> Tensor:
        if self.plan.enter == "permute":
            return x.permute(1, 0, *range(2, x.dim()))
        if self.plan.enter == "rearrange":
            return einops.rearrange(x, "a b ... -> b a ...")
        return x.transpose(0, 1)

    def repeated(self, x: Tensor) -> Tensor:
        at = 1 if self.plan.inside == "BT" else 0
        times = [1] * (x.dim() + 1)
        times[at] = self.T
        if self.plan.repeat == "expand":
            return x.unsqueeze(at).expand(*x.shape[:at], self.T, *x.shape[at:])
        if self.plan.repeat == "stack":
            return torch.stack([x] * self.T, dim=at)
        if self.plan.repeat == "einops":
            return einops.repeat(x, "b ... -> b t ..." if at else "b ... -> t b ...", t=self.T)
        return x.unsqueeze(at).repeat(*times)

    def left(self, x: Tensor) -> Tensor:
        """The output, of neurons' spikes [T, B, C] or [B, T, C]."""
        end, time = self.plan.end, 1 if self.plan.inside == "BT" else 0
        if self.plan.layout == "step":
            return self.head(x)
        if end == "mean before head":
            return self.head(x.mean(time))
        y = self.head(x)
        if end == "mean":
            return y.mean(dim=time)
        if end == "sum":
            return y.sum(time) / x.shape[time]
        if end == "reduce":
            return einops.reduce(y, "b t k -> b k" if time else "t b k -> b k", "mean")
        if end == "last":
            return y[:, -1] if time else y[-1]
        out = "TB" if self.plan.layout == "static" else self.plan.layout
        return y if out == self.plan.inside else y.transpose(0, 1)
