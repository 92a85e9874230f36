"""Which gradient modes are compared with BPTT."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from rbp.config.identity import grad_mode_settings
from rbp.config.text import text
from rbp.gradients.online import ONLINE
from rbp.seeds import stream
from rbp.train.step.loss import loss_over


def over(cfg: DictConfig) -> str:
    """Return what the loss is taken of, mean or steps, as it is in training."""
    return loss_over(cfg) or ("steps" if cfg.grad_mode.name in ONLINE else "mean")


def modes(cfg: DictConfig, segments: Sequence[int] | None = None) -> dict[str, dict[str, Any]]:
    """Return the arguments of `rbp.backward` of each mode, by the name that the report gives it.

    They are rate mode with several numbers of segments; the run's own setting of rate mode, if it is another
    one; and the online modes if the run goes step by step with a loss of each step, since they compute the
    gradients of no other loss. Those take all steps, and once more as many as the run's own setting does.

    Args:
        cfg: The frozen config.
        segments: The numbers of segments; None takes 1, 2, 4, ... below T, and T, which is BPTT.
    """
    counts = sorted(set(segments or dial(cfg.T)))
    found = {_name("rate", {} if k == 1 else {"segments": k}): _rate(k, True) for k in counts}
    own = cfg.grad_mode
    keys = {key.rpartition(".")[2]: value for key, value in grad_mode_settings(cfg).items()}
    if own.name == "rate":
        found.setdefault(_name("rate", keys), _rate(own.segments, own.coupled))
    if cfg.step_mode == "s" and over(cfg) == "steps":
        found |= {name: {"grad_mode": name, "chunk": None} for name in ONLINE}
        if own.backprop_steps is not None:
            draw = stream(cfg.seed, "alignment", "backprop steps")  # of its own: masks stay those of BPTT
            some = {"backprop_steps": own.backprop_steps, "rescale": own.rescale, "generator": draw}
            found[_name(own.name, keys)] = found[own.name] | some
    return found


def dial(T: int) -> list[int]:
    """Return the powers of two below T, and T."""
    return [*(2**n for n in range(T.bit_length()) if 2**n < T), T]


def _rate(segments: int, coupled: bool) -> dict[str, Any]:
    chunks = {} if segments == 1 else {"chunk": None}  # which segments exclude
    return {"grad_mode": "rate", "segments": segments, "coupled": coupled, **chunks}


def _name(mode: str, keys: dict[str, Any]) -> str:
    return " ".join([mode, *(f"{key}={text(value)}" for key, value in keys.items())])
