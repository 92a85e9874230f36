"""Measure how far the gradients of other modes are from those of BPTT, over several batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rbp.alignment import ALL, FEWEST
from rbp.gradients.alignment.compare import Comparison, Gradients, Statistic, compare, layer_of, statistic
from rbp.gradients.alignment.untouched import untouched
from rbp.gradients.alignment.vanishing import without_gradient
from rbp.gradients.backward import backward
from rbp.gradients.objective import Loss
from rbp.rate.errors import InputError, NoRuleError
from rbp.rate.memory.draws import random_state, set_random_state
from rbp.seeds import stream

Mode = Mapping[str, Any]  # arguments of rbp.backward: grad_mode, and those that are its own


@dataclass(frozen=True)
class Alignment:
    """How the gradients of some modes lie to those of BPTT. Layers are in the order of the network.

    Attributes:
        batches: Number of batches.
        cosine: By mode and layer, the cosine with BPTT's gradient; "all" is that of all layers together.
        norm: By mode and layer, the norm as a share of that of BPTT's gradient.
        noise_floor: By layer, the cosine between BPTT's gradients of one batch and the next.
        left_out: Parameters that count nowhere: those without a gradient, or with one that is 0 in truth, on
            every batch. One for which that holds on some batches does not count on these.
        not_measured: The modes that the network cannot do, with the reason.
    """

    batches: int
    cosine: dict[str, dict[str, Statistic]]
    norm: dict[str, dict[str, Statistic]]
    noise_floor: dict[str, Statistic]
    left_out: list[str]
    not_measured: dict[str, str]


def measure(
    net: nn.Module,
    batches: Iterable[tuple[Tensor, Loss]],
    modes: Mapping[str, Mode],
    *,
    seed: int = 0,
    between: Callable[[], None] = lambda: None,
    **how: Any,
) -> Alignment:
    """Compare the gradients of several modes with those of BPTT, batch by batch.

    All passes over a batch have the same weights and the same random numbers, such as dropout masks. Weights,
    buffers, gradients and random state are left as they are. The network runs in the mode (training or
    evaluation) and under the autocast that it is in.

    Args:
        net: The network, on the device of the batches.
        batches: Input as of `rbp.backward` and loss of each batch; at least `FEWEST`.
        modes: Arguments of `rbp.backward` by the name of the mode, such as {"rate": {"grad_mode": "rate"}}.
        seed: Together with the number of a batch, decides its random numbers.
        between: Called before every pass but those in float64 (see `vanishing`), when the network is as it
            was, though not the random state; it can stop the measurement by raising.
        how: Arguments of `rbp.backward` that all modes share, such as `step_mode` and `over`.

    Raises:
        InputError: There are fewer than `FEWEST` batches, the network is in DistributedDataParallel or does
            not run in float64, or as in `rbp.backward` for BPTT.
        NoRuleError: As in `rbp.backward` for BPTT.
    """
    if isinstance(net, DistributedDataParallel):
        raise InputError("alignment: net is in DistributedDataParallel; pass net.module, in one process")
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    found = _Found(dict(modes), [name for name, _ in net.named_parameters()])
    with untouched(net, device) as start_anew:

        def gradients(x: Tensor, loss: Loss, mode: Mode) -> Gradients:
            start_anew()
            between()
            backward(net, x, loss, **{**how, **mode})
            return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}

        for number, (x, loss) in enumerate(batches):
            torch.manual_seed(stream(seed, "alignment", number).initial_seed())
            drawn = random_state(device)
            start_anew()
            vanishing = without_gradient(net, x, loss, how)
            set_random_state(drawn)
            exact = gradients(x, loss, {"grad_mode": "bptt"})
            found.add_exact(exact, vanishing)
            for name, mode in list(found.modes.items()):
                set_random_state(drawn)
                try:
                    found.add(name, gradients(x, loss, mode), exact)
                except (InputError, NoRuleError) as error:
                    found.drop(name, error)
    return found.result()


class _Found:
    """What the batches so far gave."""

    def __init__(self, modes: dict[str, Mode], parameters: Sequence[str]) -> None:
        self.modes = modes
        self.not_measured: dict[str, str] = {}
        self._parameters = parameters
        self._counted: set[str] = set()  # on some batch
        self._names: list[str] = []  # of the parameters that count on the last batch
        self._before: Gradients | None = None
        self._compared: dict[str, list[dict[str, Comparison]]] = {name: [] for name in modes}
        self._floor: list[dict[str, Comparison]] = []
        self._batches = 0

    def add_exact(self, exact: Gradients, vanishing: Sequence[str]) -> None:
        """Add BPTT's gradient of a batch, on which those parameters have none."""
        names = [name for name in exact if name not in vanishing]
        if self._before is not None:
            both = [name for name in names if name in self._names]
            self._floor.append(compare(exact, self._before, both))
        self._before, self._names = exact, names
        self._counted.update(names)
        self._batches += 1

    def add(self, name: str, gradients: Gradients, exact: Gradients) -> None:
        """Add the gradient of a mode of the same batch."""
        self._compared[name].append(compare(gradients, exact, self._names))

    def drop(self, name: str, error: Exception) -> None:
        """Leave out a mode that the network cannot do. Raises the error if it could on the first batch."""
        if self._compared[name]:
            raise error
        del self.modes[name]
        self.not_measured[name] = str(error)

    def result(self) -> Alignment:
        """Return the means over batches."""
        if self._batches < FEWEST:
            raise InputError(
                f"alignment: {self._batches} batches are too few to say how it varies; at least {FEWEST}"
            )
        measured = {name: self._compared[name] for name in self.modes}
        counted = [name for name in self._parameters if name in self._counted]
        layers = list(dict.fromkeys([ALL, *map(layer_of, counted)]))
        return Alignment(
            batches=self._batches,
            cosine={name: _over_batches(of, "cosine", layers) for name, of in measured.items()},
            norm={name: _over_batches(of, "norm", layers) for name, of in measured.items()},
            noise_floor=_over_batches(self._floor, "cosine", layers),
            left_out=[name for name in self._parameters if name not in self._counted],
            not_measured=self.not_measured,
        )


def _over_batches(
    compared: list[dict[str, Comparison]], what: str, layers: Sequence[str]
) -> dict[str, Statistic]:
    return {layer: statistic(getattr(of[layer], what) for of in compared if layer in of) for layer in layers}
