"""The two limits of a step's time: its operations at the device's rate, its bytes at the device's bandwidth.

Rate and bandwidth are those of a big matrix product and of a big copy, measured on the device at hand.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from rbp.bench.timing import timed

REPEATS = 5


@dataclass(frozen=True)
class Work:
    """Of one step: floating-point operations (two a multiplication and addition), bytes, and the namespaces
    of the operators that it called ("aten" and others)."""

    operations: int
    moved_bytes: int
    namespaces: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Speed:
    """Of a device, in one precision: operations a second and bytes a second."""

    operations: float
    moved_bytes: float


def count(step: Callable[[], Any], fused: bool = False) -> Work:
    """The work of a step that runs eagerly; fused: see Moved."""
    with FlopCounterMode(display=False) as flops, Moved(fused) as moved:
        step()
    return Work(flops.get_total_flops(), moved.total, frozenset(moved.namespaces))


class Moved(TorchDispatchMode):
    """Bytes that the operators called inside read and write: `total`, a lower bound of what they move.

    Each operator reads each of its tensors once and writes each of its results once. Views are free, memory
    that is only allocated too, and an expanded tensor has the bytes of its storage. What is read twice is
    counted once; but what a cache still holds need not come from memory, so that small tensors may beat it.
    fused: leave out operators that work element by element, as compiled kernels can keep their intermediate
    results in registers: of the rest only is it sure that they read and write memory.
    """

    def __init__(self, fused: bool = False) -> None:
        super().__init__()
        self.fused = fused
        self.total = 0
        self.namespaces: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.namespaces.add(func.namespace)
        if not (_free(func) or (self.fused and torch.Tag.pointwise in func.tags)):
            self.total += sum(_bytes(x) for x in (*_read(func, args, kwargs or {}), *_tensors(result)))
        return result


# They give memory out, or another shape of the same memory, though their schemas do not say so.
_FREE = frozenset(
    {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "detach"}
)
_OVERWRITES = frozenset({"copy_", "fill_", "zero_"})  # what they change they do not read
_FILLS = frozenset(
    {"ones_like", "zeros_like", "full_like", "new_ones", "new_zeros", "new_full"}
)  # read nothing


def _free(func: Any) -> bool:
    """Whether an operator moves nothing: it allocates, or all of its results are views."""
    if func.overloadpacket.__name__ in _FREE:
        return True
    results = [result.alias_info for result in func._schema.returns]
    return bool(results) and all(alias is not None and not alias.is_write for alias in results)


def _read(func: Any, args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
    """The different tensors that an operator reads."""
    name = func.overloadpacket.__name__
    if name in _FILLS:  # of what they are given they need the shape alone
        return []
    found = {id(x): x for x in _tensors(args[1:] if name in _OVERWRITES else args)}
    outs = {argument.name for argument in func._schema.arguments if argument.is_out}
    found |= {id(x): x for x in _tensors({k: v for k, v in kwargs.items() if k not in outs})}
    return list(found.values())


def _tensors(values: Any) -> list[Tensor]:
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]


def _bytes(x: Tensor) -> int:
    return min(x.numel() * x.element_size(), x.untyped_storage().nbytes())


@functools.cache
def speed(device: torch.device, precision: str) -> Speed:
    """Measured once in a process. On a GPU float32 products may use TF32 where its convolutions do."""
    cuda = device.type == "cuda"
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = cuda and torch.backends.cudnn.allow_tf32
    try:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        return Speed(_product_speed(device, 8192 if cuda else 1024, dtype), _copy_speed(device))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _product_speed(device: torch.device, side: int, dtype: torch.dtype) -> float:
    a = torch.rand(side, side, device=device).to(dtype)
    result = torch.empty_like(a)
    return 2 * side**3 / _fastest(lambda: torch.mm(a, a, out=result), device)


def _copy_speed(device: torch.device) -> float:
    """Bytes read and written a second; the copy is far larger than caches are."""
    source = torch.ones(2**27 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _fastest(lambda: target.copy_(source), device)


def _fastest(action: Callable[[], Any], device: torch.device) -> float:
    action()
    return min(timed(action, device)[0] for _ in range(REPEATS))
