"""grad_mode=sltt and ottt, and losses over the steps: what they bring along, and what does not fit them."""

import pytest

from rbp.config import schema
from rbp.config.identity import folder_name, grad_mode_settings, identity
from rbp.errors import ConfigError
from rbp.sweep.grid.compose import compose_grid
from tests.support.configs import make


@pytest.mark.parametrize("mode", ["sltt", "ottt"])
def test_an_online_mode_brings_single_steps_and_the_loss_of_each(mode: str) -> None:
    cfg = make(f"grad_mode={mode}")
    assert (cfg.step_mode, cfg.loss.name, cfg.loss.over) == ("s", "per_step", "steps")
    assert f"-s-{mode}-s0-" in folder_name(cfg) and grad_mode_settings(cfg) == {}
    said = make(f"grad_mode={mode}", "step_mode=s", "loss=per_step")
    assert identity(said) == identity(cfg)
    assert make(f"grad_mode={mode}", "loss=tet").loss.name == "tet"


def test_which_losses_and_steps_are_other_runs() -> None:
    runs = [
        *(["grad_mode=rate"], ["loss=per_step"], ["loss=tet"], ["loss=tet", "loss.w=0.1"]),
        *(["grad_mode=sltt"], ["grad_mode=ottt"], ["grad_mode=sltt", "grad_mode.backprop_steps=2"]),
        ["grad_mode=sltt", "grad_mode.backprop_steps=2", "grad_mode.rescale=true"],
    ]
    assert len({identity(make(*run)) for run in runs}) == len(runs)
    assert identity(make()) == identity(make("loss=time_mean", "loss.over=mean"))


def test_the_default_runs_are_those_of_before() -> None:
    """Their hashes before there were online modes."""
    assert identity(make()) == "a42b2787"
    assert identity(make("grad_mode=bptt", "loss.label_smoothing=0.1")) == "669d84a6"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["grad_mode=sltt", "step_mode=m"], "step_mode=m with grad_mode=sltt: .* or step_mode=s; .* pairs"),
        (["grad_mode=ottt", "loss=time_mean"], "loss=time_mean with grad_mode=ottt: .* or loss=per_step"),
        (["grad_mode=sltt", "loss.over=mean"], r"loss=per_step with grad_mode=sltt: .*\(loss.over=mean\)"),
        (["grad_mode=sltt", "grad_mode.segments=2"], "grad_mode.segments=2 with grad_mode=sltt: SLTT has no"),
        (["grad_mode=ottt", "grad_mode.coupled=false"], "grad_mode.coupled=false with grad_mode=ottt"),
        (["grad_mode=sltt", "grad_mode.backprop_steps=0"], "backprop_steps=0: must be null .* 1 or more"),
        (["grad_mode=sltt", "grad_mode.backprop_steps=5"], "backprop_steps=5: must be at most T=4"),
        (["grad_mode=sltt", "grad_mode.rescale=true"], "rescale=true with grad_mode.backprop_steps=null"),
        (["grad_mode=rate", "grad_mode.backprop_steps=2"], "backprop_steps=2 with grad_mode=rate: .* online"),
        (["grad_mode=bptt", "grad_mode.rescale=true"], "rescale=true with grad_mode=bptt: .* online"),
        (
            ["grad_mode=sltt", "arch.layout=static"],
            "arch.layout=static with grad_mode=sltt: .* use grad_mode=rate",
        ),
        (["loss.over=time"], "loss.over=time: must be one of mean, steps"),
        (["loss=tet", "loss.w=1"], "loss.w=1.*: must be a number from 0 to below 1"),
    ],
)
def test_what_does_not_fit_is_told_with_what_goes_instead(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make("T=4", *overrides)


def test_in_a_grid_each_cell_has_what_its_mode_brings() -> None:
    schema.register()
    cells = compose_grid(["grad_mode=bptt,rate,sltt,ottt", "T=2,4"])
    found = {(c.values["grad_mode"]["name"], c.values["step_mode"], c.values["loss"]["name"]) for c in cells}
    assert len(cells) == 8 and found == {
        *(("bptt", "m", "time_mean"), ("rate", "m", "time_mean")),
        *(("sltt", "s", "per_step"), ("ottt", "s", "per_step")),
    }
    alike = compose_grid(["grad_mode=bptt,sltt", "step_mode=s", "loss=per_step"])
    assert [c.values["loss"]["name"] for c in alike] == ["per_step", "per_step"]
    with pytest.raises(ConfigError, match=r"step_mode=m with grad_mode=sltt: .* \(1 of 2 cells\)"):
        compose_grid(["grad_mode=bptt,sltt", "step_mode=m"])


def test_a_loss_of_ones_own_that_does_not_say_what_it_is_of_goes_with_any_mode() -> None:
    for mode in ("rate", "sltt"):
        cfg = make(f"grad_mode={mode}", "loss._target_=torch.nn.functional.multi_margin_loss")
        assert cfg.loss.over == ("steps" if mode == "sltt" else "mean")
