"""Random streams: one run seed, many independent generators, each known by its name."""

import hashlib
import json

import torch


def stream(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator whose state depends on `seed` and `names` alone.

    Streams of different names share nothing: drawing more from one never shifts another, and a stream can be
    opened again anywhere (`stream(0, "order", 7)` is epoch 7's order, also in a run resumed at epoch 7).
    Names are plain strings and ints; 1 and "1" are different names. Anything else: TypeError.
    """
    # Hashed rather than added up, so that (seed 1, epoch 0) and (seed 0, epoch 1) have nothing in common.
    key = json.dumps([seed, *names]).encode()
    digest = hashlib.blake2b(key, digest_size=8).digest()
    generator = torch.Generator()
    generator.manual_seed(int.from_bytes(digest, "big") >> 1)  # manual_seed takes a signed 64-bit integer
    return generator
