"""Two lower limits of a step's time: operations at the device's speed, bytes at the device's bandwidth.

Speed and bandwidth are measured on the device at hand, with a large matrix product and a large copy.
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
    """The work of one training step.

    Attributes:
        operations: Floating-point operations; a multiplication with addition counts as two.
        moved_bytes: Bytes read and written.
        namespaces: Namespaces of the operators that were called ("aten" and others).
    """

    operations: int
    moved_bytes: int
    namespaces: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Speed:
    """The speed of a device in one precision.

    Attributes:
        operations: Floating-point operations per second.
        moved_bytes: Bytes per second.
    """

    operations: float
    moved_bytes: float


def count(step: Callable[[], Any], fused: bool = False) -> Work:
    """Return the work of a step, which must run eagerly; for `fused`, see `BytesMovedCounter`."""
    with FlopCounterMode(display=False) as flops, BytesMovedCounter(fused) as moved:
        step()
    return Work(flops.get_total_flops(), moved.total, frozenset(moved.namespaces))


class BytesMovedCounter(TorchDispatchMode):
    """A lower bound (`total`) of the bytes that the operators called inside the block read and write.

    Each operator reads each of its tensors once and writes each of its results once. Views and bare
    allocations are free, and an expanded tensor has the bytes of its storage. What is read twice counts once.
    On the other hand, data still in a cache need not come from memory, so small tensors may beat the bound.

    Args:
        fused: Leave out elementwise operators, since compiled kernels can keep their intermediate results in
            registers; only the other operators are certain to read and write memory.
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


# Operators that allocate memory or return a view, although their schemas do not say so.
_FREE = frozenset(
    {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "detach"}
)
_OVERWRITES = frozenset({"copy_", "fill_", "zero_"})  # these do not read the tensor that they change
_FILLS = frozenset(
    {"ones_like", "zeros_like", "full_like", "new_ones", "new_zeros", "new_full"}
)  # these read nothing


def _free(func: Any) -> bool:
    """Whether an operator moves nothing: it only allocates, or all of its results are views."""
    if func.overloadpacket.__name__ in _FREE:
        return True
    results = [result.alias_info for result in func._schema.returns]
    return bool(results) and all(alias is not None and not alias.is_write for alias in results)


def _read(func: Any, args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the distinct tensors that an operator reads."""
    name = func.overloadpacket.__name__
    if name in _FILLS:  # these need only the shape of their argument
        return []
    found = {id(x): x for x in _tensors(args[1:] if name in _OVERWRITES else args)}
    outs = {argument.name for argument in func._schema.arguments if argument.is_out}
    found |= {id(x): x for x in _tensors({k: v for k, v in kwargs.items() if k not in outs})}
    return list(found.values())


def _tensors(values: Any) -> list[Tensor]:
    """Return all tensors in nested arguments."""
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]


def _bytes(x: Tensor) -> int:
    """Return a tensor's bytes, at most those of its storage."""
    return min(x.numel() * x.element_size(), x.untyped_storage().nbytes())


@functools.cache
def speed(device: torch.device, precision: str) -> Speed:
    """Measure a device's speed, once per process.

    On a GPU, float32 products may use TF32 if convolutions do.
    """
    cuda = device.type == "cuda"
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = cuda and torch.backends.cudnn.allow_tf32
    try:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        return Speed(_product_speed(device, 8192 if cuda else 1024, dtype), _copy_speed(device))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _product_speed(device: torch.device, side: int, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a matrix product."""
    a = torch.rand(side, side, device=device).to(dtype)
    result = torch.empty_like(a)
    return 2 * side**3 / _fastest(lambda: torch.mm(a, a, out=result), device)


def _copy_speed(device: torch.device) -> float:
    """Return the bytes read and written per second by a copy far larger than the caches."""
    source = torch.ones(2**27 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _fastest(lambda: target.copy_(source), device)


def _fastest(action: Callable[[], Any], device: torch.device) -> float:
    """Return the least seconds of several repetitions."""
    action()
    return min(timed(action, device)[0] for _ in range(REPEATS))
