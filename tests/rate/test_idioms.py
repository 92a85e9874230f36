"""Networks composed at random of the idioms for time, against their own plain runs."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rbp import forward
from rbp.rate.errors import InputError
from tests.support import idioms
from tests.support.idioms import SHAPE, Composed, Plan
from tests.support.plain_runs import Truth

some = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@st.composite
def plans(draw) -> Plan:
    def one_of(values):
        return draw(st.sampled_from(values))

    layout = one_of(["TB", "TB", "BT", "BT", "static", "static", "step"])
    handles_time = layout != "step"
    return Plan(
        layout,
        inside=one_of(["TB", "BT"]),
        fold=one_of(idioms.FOLDS),
        repeat=one_of(idioms.REPEATS),
        late=draw(st.booleans()),
        enter=one_of(idioms.ENTERS),
        norm=one_of(idioms.NORMS),
        node=one_of(idioms.NODES),
        time_embedding=handles_time and draw(st.booleans()),
        class_token=draw(st.booleans()),
        bodies=tuple(draw(st.lists(st.sampled_from(idioms.BODIES), max_size=2))),
        residual=draw(st.booleans()),
        drop_path=draw(st.booleans()),
        end=one_of(idioms.ENDS) if handles_time else "steps",
    )


sizes = st.sampled_from([1, 3, 4]).flatmap(lambda T: st.tuples(st.just(T), st.sampled_from([2, T, T + 1])))


def made(plan: Plan, T: int, B: int, seed: int):
    """The network, its twin with time first (of a network of single steps), and x_seq."""
    torch.manual_seed(seed)
    net = Composed(plan, T).double()
    same = plan._replace(layout="TB", inside="TB", fold="flatten")
    twin = Composed(same, T).double() if plan.layout == "step" else None
    return net, twin, torch.randn(T, B, *SHAPE, dtype=torch.float64) * 2


@some
@given(plan=plans(), size=sizes, mode=st.sampled_from("ms"), seed=st.integers(0, 9))
def test_any_composition_is_its_plain_run(plan, size, mode, seed):
    T, B = size
    net, twin, x = made(plan, T, B, seed)
    if plan.layout == "static" or (plan.time_embedding and T > 1):  # no step mode s
        mode = "m"
    x = x[0] if plan.layout == "static" else x
    truth = Truth(net, x, plan.layout, mode, twin if mode == "m" else None)
    assert 0 < truth.firing["spike"] < 1
    assert all(rate > 0 for rate in truth.firing.values())
    truth.holds(net, x, one_step=T == 1, layout=plan.layout, step_mode=mode)


@some
@given(plan=plans(), size=sizes, seed=st.integers(0, 9))
def test_a_layout_found_out_is_the_networks_or_an_error_that_names_it(plan, size, seed):
    T, B = size
    net, twin, x = made(plan, T, B, seed)
    x = x[0] if plan.layout == "static" else x
    truth = Truth(net, x, plan.layout, "m", twin)
    try:
        truth.holds(net, x, one_step=T == 1, T=T)
    except InputError as error:
        assert "layout=" in str(error)


def test_an_image_handed_over_with_T_is_shown_at_every_step():
    for layout in ("TB", "BT"):
        net, _, x = made(Plan(layout, bodies=("attention",)), 3, 3, 0)
        truth = Truth(net, x[:1].expand(x.shape), layout)
        torch.testing.assert_close(forward(net, x[0], T=3, layout=layout), truth.y)
