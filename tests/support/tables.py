"""A module as users have beside their networks: tables that are made once, and a count."""

import functools

import torch
from torch import Tensor

CACHE: dict[tuple, Tensor] = {}
COUNT = 0


@functools.cache
def table(n: int, dtype: torch.dtype) -> Tensor:
    return torch.linspace(0, 1, n, dtype=dtype)


def mask(n: int, dtype: torch.dtype) -> Tensor:
    key = (n, dtype)
    if key not in CACHE:
        CACHE[key] = torch.ones(n, dtype=dtype).cumsum(0) / n
    return CACHE[key]


class Tables:
    made: dict[int, Tensor] = {}  # noqa: RUF012

    @classmethod
    def get(cls, n: int, dtype: torch.dtype) -> Tensor:
        return cls.made.setdefault(n, torch.arange(n, dtype=dtype) / n)
