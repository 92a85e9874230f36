"""grad_mode.segments and grad_mode.coupled: which runs they stand for, and what does not fit together."""

import pytest

from rbp.config import schema
from rbp.config.identity import folder_name, grad_mode_settings, identity
from rbp.errors import ConfigError
from rbp.sweep.grid.command_line import expand
from rbp.sweep.grid.compose import compose_grid
from tests.support.configs import make


def test_the_word_T_is_the_runs_T() -> None:
    for steps in (2, 4):
        cfg = make(f"T={steps}", "grad_mode.segments=T")
        assert cfg.grad_mode.segments == steps
        assert identity(cfg) == identity(make(f"T={steps}", f"grad_mode.segments={steps}"))
    data = make("dataset=direction", "grad_mode.segments=T")  # which sets T itself
    assert data.grad_mode.segments == data.T == 8


def test_it_is_another_run_only_where_it_is_not_as_usual() -> None:
    usual = make("grad_mode=rate")
    assert identity(usual) == identity(make("grad_mode.segments=1", "grad_mode.coupled=true"))
    more = [make("grad_mode.segments=2"), make("grad_mode.segments=2", "grad_mode.coupled=false")]
    assert len({identity(cfg) for cfg in (usual, *more)}) == 3
    assert all("-m-rate-s0-" in folder_name(cfg) for cfg in (usual, *more))
    assert grad_mode_settings(usual) == {}
    assert grad_mode_settings(more[1]) == {"grad_mode.segments": 2, "grad_mode.coupled": False}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["grad_mode=bptt", "grad_mode.segments=2"], "grad_mode.segments=2 with grad_mode=bptt: .* exclude"),
        (["grad_mode=bptt", "grad_mode.coupled=false"], "grad_mode.coupled=false with grad_mode=bptt"),
        (["grad_mode.segments=5"], "grad_mode.segments=5: must be at most T=4; .* pairs or exclude"),
        (["grad_mode.segments=0"], "grad_mode.segments=0: must be a whole number from 1 to T, or T"),
        (["grad_mode.segments=half"], "grad_mode.segments=half: must be a whole number from 1 to T, or T"),
        (["grad_mode.coupled=false"], "one segment has none to be coupled with"),
        (["grad_mode.segments=2", "trainer.chunk=1"], "trainer.chunk=1 with grad_mode.segments=2"),
    ],
)
def test_what_does_not_fit_is_named(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make("T=4", *overrides)


def test_a_value_of_a_wrong_type_is_told_what_it_may_be() -> None:
    schema.register()
    with pytest.raises(
        ConfigError, match=r"grad_mode.segments=1.5: must be a whole number from 1 to T, or T"
    ):
        compose_grid(["grad_mode.segments=1.5"])


def test_a_grid_sweeps_them_and_leaves_cells_out_by_them() -> None:
    schema.register()
    grid = ["T=2,4", "grad_mode=bptt,rate", "grad_mode.segments=1,2,T"]
    exclude = [{"grad_mode": "bptt", "grad_mode.segments": [2, "T"]}, {"T": 2, "grad_mode.segments": 2}]
    cells = compose_grid(grid, exclude=exclude)
    found = [(c.values["T"], c.values["grad_mode"]["name"], c.values["grad_mode"]["segments"]) for c in cells]
    rate = [(2, "rate", 1), (2, "rate", 2), (4, "rate", 1), (4, "rate", 2), (4, "rate", 4)]
    assert sorted(found) == [(2, "bptt", 1), *rate[:2], (4, "bptt", 1), *rate[2:]]


def test_the_same_number_of_segments_said_twice_is_one_run() -> None:
    schema.register()
    with pytest.raises(ConfigError, match="are the same run"):
        compose_grid(expand(["T=4", "grad_mode=rate", "grad_mode.segments=4,T"])[0])


def test_pairs_change_a_mode_and_its_keys_together() -> None:
    schema.register()
    pair = {"grad_mode": ["bptt", "rate", "rate"], "grad_mode.segments": [1, 2, "T"]}
    cells = compose_grid(expand(["T=4", "seed=0,1"])[0], pairs=[pair])
    assert len(cells) == 6
    assert {(c.values["grad_mode"]["name"], c.values["grad_mode"]["segments"]) for c in cells} == {
        ("bptt", 1),
        ("rate", 2),
        ("rate", 4),
    }
