"""Synaptic operations per image and their energy, as result.json and `rbp eval` give them (docs/energy.md).

A spike costs an addition in each product that it takes part in: as many as its place reaches, with borders
and strides, whether the weight is zero or not. A whole number n, such as a sum of residual branches or a
count of events, costs n. Any fraction in a layer's input makes all of that input real-valued, as a dense
layer has it: a multiply-accumulate (MAC) in each product, zeros too. Average pooling right before a layer is
no fraction, since its division can be folded into the layer's weights: the spikes of a window count, one by
one. A product of two tensors of spikes, as in attention, is driven by the one that needs fewer additions.
Residual sums, batch normalisation, pooling, biases and neurons are not counted.

A layer is static if its input is the same at every step and no neuron comes before it. It is charged at every
step, and in `static_once` at the first step only. The same network as an ANN makes one step, with a MAC in
every product.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from rbp.train.operations.calls import Counts, Products

MAC_PJ = 4.6
ADDITION_PJ = 0.9
SOURCE = "Horowitz 2014, 45 nm, fp32 arithmetic alone: no memory traffic, no leak, no sparsity of the ANN"


def operations(counts: Counts) -> dict[str, Any]:
    """Return what `operations` holds in result.json: numbers per image, energies in microjoules.

    Returns:
        - `images`: how many test images were counted;
        - `additions`, `macs`, `energy_uj`: of all T steps; `static_once`: the same with static layers charged
          once; `ann`: `macs` and `energy_uj` of the same network as an ANN;
        - `over_t`: lists of `additions`, `macs`, `energy_uj` and `energy_uj_static_once` up to t = 1, ..., T;
        - `layers`: `additions`, `macs`, `ann_macs` and `static` by module name;
        - `not_counted`: modules whose operations, or some of them, are missing from all of these, and why;
        - `mac_pj`, `addition_pj`, `source`: what the energies come from.
    """
    n, layers = counts.images, counts.layers.values()
    everywhere = _over_t(layers, n)
    once = _over_t((layer.at_first_step_only() if layer.static else layer for layer in layers), n)
    ann = sum(layer.dense for layer in layers) / n
    return {
        "images": n,
        **{key: values[-1] for key, values in everywhere.items()},
        "static_once": {key: values[-1] for key, values in once.items()},
        "ann": {"macs": ann, "energy_uj": energy_uj(0, ann)},
        "over_t": everywhere | {"energy_uj_static_once": once["energy_uj"]},
        "layers": {
            name: {
                "additions": sum(layer.additions) / n,
                "macs": sum(layer.macs) / n,
                "ann_macs": layer.dense / n,
                "static": layer.static,
            }
            for name, layer in counts.layers.items()
        },
        "not_counted": counts.not_counted,
        "mac_pj": MAC_PJ,
        "addition_pj": ADDITION_PJ,
        "source": SOURCE,
    }


def energy_uj(additions: float, macs: float) -> float:
    """Return the energy of some operations in microjoules."""
    return (MAC_PJ * macs + ADDITION_PJ * additions) * 1e-6


def _over_t(layers: Iterable[Products], images: int) -> dict[str, list[float]]:
    """Return the operations of all layers up to t = 1, ..., T, and their energy."""
    found = list(layers)
    additions, macs = (
        list(itertools.accumulate(sum(values) / images for values in zip(*rows, strict=True)))
        for rows in ([layer.additions for layer in found], [layer.macs for layer in found])
    )
    energies = [energy_uj(a, m) for a, m in zip(additions, macs, strict=True)]
    return {"additions": additions, "macs": macs, "energy_uj": energies}
