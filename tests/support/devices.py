"""A GPU without one: torch's device `meta`, whose tensors have a shape and no content.

Torch itself raises wherever content would have to come back to the host, for which one would wait on a GPU:
`.item()`, `.tolist()`, `.cpu()`, `bool(x)`, `torch.equal`, `x[mask]`. `Watch` finds what is left: tensors of
the host that meet those of the device, and work on the host.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")


class Watch(TorchDispatchMode):
    """Notes the operations done inside, by name.

    crossing: those that have tensors of both devices. Also a CPU tensor of no dimension, which torch takes as
        a number: a number it is only where it was made from one, at a cost a step; write the number.
    waiting: those of them that would wait for a GPU, copies that are not `non_blocking`.
    on_host: those on CPU tensors alone, and tensors made of lists, for whatever device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.crossing: list[str] = []
        self.waiting: list[str] = []
        self.on_host: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        met = {t.device.type for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)}
        if len(met) > 1:
            self.crossing.append(str(func))
            if not (kwargs or {}).get("non_blocking"):
                self.waiting.append(str(func))
        elif met == {"cpu"}:
            self.on_host.append(str(func))
        return out

    def found(self) -> list[str]:
        return self.crossing + self.on_host


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """While inside, all is noted; also the making of a tensor from a list, which no dispatch mode sees."""
    with contextlib.ExitStack() as stack:
        watch = Watch()
        for room, name in ((torch, "tensor"), (torch, "as_tensor"), (Tensor, "new_tensor")):
            stack.enter_context(mock.patch.object(room, name, _noting(watch, getattr(room, name))))
        stack.enter_context(watch)
        yield watch


def _noting(watch: Watch, make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def made(*args: Any, **kwargs: Any) -> Tensor:
        if torch.device(kwargs.get("device") or "cpu").type != "cpu":
            watch.waiting.append("a list sent to the device")
        watch.on_host.append(f"torch.{make.__name__}")
        return make(*args, **kwargs)

    return made


def on_meta(net: nn.Module, x_seq: Tensor) -> tuple[nn.Module, Tensor]:
    """A network and its input without their content; a static input stays a view of stride 0."""
    x = x_seq[0].to(META).expand(x_seq.shape) if x_seq.stride(0) == 0 else x_seq.to(META)
    return net.to(META), x


def _statistics(x: Tensor, *running: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


# The one operation of ours that torch has kernels for on CPU and CUDA and none on meta.
_LIBRARY = torch.library.Library("aten", "IMPL")
_LIBRARY.impl("batch_norm_update_stats", _statistics, "Meta")
