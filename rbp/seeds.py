"""Derive independent random generators from one run seed, each identified by a name."""

import hashlib
import json

import torch


def stream(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator whose state depends only on `seed` and `names`.

    Streams with different names are independent: drawing more numbers from one never shifts another. A stream
    can be recreated anywhere: `stream(0, "order", 7)` gives the order of epoch 7, also in a run resumed at
    epoch 7.

    Args:
        seed: The seed of the run.
        names: Strings and ints that identify the stream; 1 and "1" are different names.

    Raises:
        TypeError: A name cannot be written as JSON.
    """
    # Hash rather than add, so that (seed 1, epoch 0) and (seed 0, epoch 1) give unrelated streams.
    key = json.dumps([seed, *names]).encode()
    digest = hashlib.blake2b(key, digest_size=8).digest()
    generator = torch.Generator()
    generator.manual_seed(int.from_bytes(digest, "big") >> 1)  # manual_seed takes a signed 64-bit integer
    return generator
