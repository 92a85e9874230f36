"""Figures as SVG: well-formed, all of it within the frame, the same bytes twice, whatever names hold."""

import math
import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from rbp.report.figures.figure import Axis, Figure, Mark, Series
from rbp.report.figures.style import DARK, KNOWN, LIGHT, STYLES, styles
from rbp.report.figures.svg import WIDTH, draw_svg
from tests.support.colours import EYES, contrast, lab

ODD = "a<b>&\"c'd\x00\x1b $x$ ]]> --"
SVG = "{http://www.w3.org/2000/svg}"


def lines(mode: str = "bptt", n: int = 5, look: str = "mean", scale: float = 1.0) -> Series:
    y = [scale * (1 + k) for k in range(n)]
    low, high = [v - 0.5 * scale for v in y], [v + 0.5 * scale for v in y]
    if look not in ("mean", "bars"):
        low, high = [], []
    labels = [f"run{k}" for k in range(n)]
    return Series(mode, f"{mode} mean", look, list(range(1, n + 1)), y, low, high, labels)


def bars(mode: str, names: list[str]) -> Series:
    y = [0.1 * (1 + n) for n in range(len(names))]
    return Series(mode, mode, "bars", names, y, [v - 0.05 for v in y], [v + 0.05 for v in y], names)


def figure(*series: Series, x: Axis | None = None, y: Axis | None = None, of: str = "of this") -> Figure:
    x, y = x or Axis("epoch", whole=True), y or Axis("accuracy (%)")
    return Figure("kind", "A title", x, y, "How to read it.", list(series), of, "sweep")


def parsed(made: Figure) -> ElementTree.Element:
    return ElementTree.fromstring(draw_svg(made).encode())


def told(made: Figure) -> list[str]:
    """What is told on hover, in order."""
    return [title.text or "" for title in parsed(made).iter(f"{SVG}title")]


def texts(made: Figure) -> list[str]:
    return [text.text or "" for text in parsed(made).iter(f"{SVG}text")]


EVERY = [
    figure(lines("bptt"), lines("rate", look="points"), lines("rate", look="run")),
    figure(lines("bptt", 40), lines("rate", 40, scale=3)),
    figure(lines("bptt", 8, scale=1e-3), y=Axis("loss", log=None), x=Axis("T", log=True, at_values=True)),
    figure(lines(scale=1e-9), lines("rate", scale=1e9), y=Axis("seconds (s)", log=None)),
    figure(lines(scale=1e300), lines("rate", scale=-1e300)),
    figure(lines(scale=1e-300), lines("rate", scale=1e300), y=Axis("seconds (s)", log=None)),
    figure(bars("bptt", ["a", "b"]), bars("rate", ["a", "b", "c"]), y=Axis("rate", zero=True)),
    figure(bars("bptt", [f"layer{n}.with.a.very.long.name.neuron" for n in range(60)])),
    figure(lines(n=1), lines("rate", 1, "run"), lines("rate", 1, "points")),
    figure(Series("other", ODD, "mean", [1, 2], [-5, 5], [-6, 4], [-4, 6], [ODD, ODD]), of=ODD),
    figure(Series("rate", "wide", "mean", [1, 2], [1, 100], [-500, -10], [2, 200]), y=Axis("y", log=None)),
    figure(Series("rate", "a label " * 30, "points", [1], [2], variant=3), of="what it is of " * 50),
]


@pytest.mark.parametrize("made", EVERY, ids=range(len(EVERY)))
def test_everything_lies_within_the_figure(made: Figure) -> None:
    root = parsed(made)
    wide, high = (float(part) for part in root.attrib["viewBox"].split()[2:])
    assert wide == WIDTH and 200 < high < 500
    for circle in root.iter(f"{SVG}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= wide and 0 <= float(circle.attrib["cy"]) <= high
    for path in root.iter(f"{SVG}path"):
        points = re.findall(r"[ML ](-?[\d.]+) (-?[\d.]+)", path.attrib["d"].replace("M", " "))
        assert all(0 <= float(x) <= wide and 0 <= float(y) <= high for x, y in points), path.attrib["d"]
    for text in root.iter(f"{SVG}text"):
        if "x" in text.attrib:
            assert 0 <= float(text.attrib["x"]) <= wide and 0 <= float(text.attrib["y"]) <= high
    assert not re.search(r"nan|inf\b", draw_svg(made))


@pytest.mark.parametrize("made", EVERY, ids=range(len(EVERY)))
def test_a_figure_is_the_same_text_twice_small_and_without_ids(made: Figure) -> None:
    text = draw_svg(made)
    assert text == draw_svg(made) and len(text) < 30_000
    assert " id=" not in text and "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_it_says_what_it_is_of_to_those_who_see_it_and_those_who_do_not() -> None:
    root = parsed(figure(lines(), of="digits, T=4"))
    assert root.attrib["role"] == "img" and root.attrib["aria-label"] == "A title. sweep: digits, T=4"
    assert root.findtext(f"{SVG}desc") == "How to read it. accuracy (%) over epoch."
    shown = texts(figure(lines(), of="digits, T=4"))
    assert shown[:2] == ["A title", "sweep: digits, T=4"] and {"epoch", "accuracy (%)"} <= set(shown)


def test_names_are_text_and_never_markup() -> None:
    made = figure(Series("bptt", ODD, "points", [1], [2], labels=[ODD]), of=ODD)
    plain = ODD.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert plain in texts(made) and plain in told(made)[0]
    assert plain in parsed(made).attrib["aria-label"]


def test_a_point_tells_its_label_place_and_value() -> None:
    made = figure(Series("bptt", "BPTT", "points", [4], [91.234567], labels=["T4-s0"]), x=Axis("T (steps)"))
    assert told(made) == ["BPTT\nT 4: 91.235, T4-s0"]
    band = figure(Series("bptt", "BPTT", "mean", [4], [91.0], [90.5], [91.5], ["n=3"]))
    assert told(band) == ["BPTT\nepoch 4: 91 (90.5 to 91.5), n=3"]


def test_a_long_line_tells_all_values_of_a_place_wherever_it_is_pointed_at() -> None:
    said = told(figure(lines("bptt", 30), lines("rate", 30, scale=2)))
    assert "epoch 30\nbptt mean: 30 (29.5 to 30.5)\nrate mean: 60 (59 to 61)" in said
    assert sum(text.startswith("epoch ") for text in said) == 30


def test_a_single_epoch_has_a_marker_and_an_error_bar() -> None:
    root = parsed(figure(Series("rate", "Rate-BP", "mean", [1], [50], [40], [60])))
    assert len(list(root.iter(f"{SVG}circle"))) == 2  # in the legend, and where the value is
    bar = [path.attrib["d"] for path in root.iter(f"{SVG}path") if "V" in path.attrib["d"]]
    assert len(bar) == 1
    run = parsed(figure(Series("rate", "Rate-BP", "run", [1], [50], labels=["a run"])))
    assert len(list(run.iter(f"{SVG}circle"))) == 1


def test_T_are_the_ticks_of_their_axis_at_equal_ratios() -> None:
    Ts = [1, 2, 4, 8, 16]
    made = figure(Series("bptt", "B", "points", Ts, [1] * 5), x=Axis("T", log=True, at_values=True))
    below = [text for text in parsed(made).iter(f"{SVG}text") if text.get("text-anchor") == "middle"]
    ticks = {text.text: float(text.attrib["x"]) for text in below if "x" in text.attrib}
    xs = [ticks[str(T)] for T in Ts]
    assert [b - a for a, b in pairwise(xs)] == pytest.approx([xs[1] - xs[0]] * 4, abs=0.2)


def test_ticks_that_would_touch_are_left_out() -> None:
    Ts = list(range(100, 200))
    made = figure(Series("bptt", "B", "points", Ts, [1] * 100), x=Axis("T", at_values=True))
    assert 5 < sum(text.isdigit() and int(text) in Ts for text in texts(made)) < 30


def test_layers_stand_by_name_and_long_names_are_told_in_full() -> None:
    assert {"conv1", "conv2"} <= set(texts(figure(bars("bptt", ["conv1", "conv2"]))))
    long = [f"features.block{n}.residual.branch.neuron" for n in range(8)]
    made = figure(bars("bptt", long))
    assert set(long) <= set(told(made)) and not set(long) & set(texts(made))
    cut = [text for text in parsed(made).iter(f"{SVG}text") if "…" in (text.text or "")]
    assert len(cut) == 8 and all("rotate(-90)" in text.attrib["transform"] for text in cut)


def test_modes_differ_without_colour() -> None:
    assert len({style.marker for style in STYLES}) == len({style.dash for style in STYLES}) == len(STYLES)
    text = draw_svg(figure(lines("bptt"), lines("rate")))
    assert KNOWN["bptt"].colour in text and KNOWN["rate"].colour in text and 'stroke-dasharray="7 3"' in text
    three = draw_svg(figure(*(bars(mode, ["a"]) for mode in ("bptt", "rate", "x"))))
    assert len(set(re.findall(r'fill-opacity="([\d.]+)"', three))) == 3


def test_a_gradient_mode_has_one_look_whichever_others_are_there() -> None:
    for n in range(1, len(KNOWN) + 1):
        for some in combinations(KNOWN, n):
            assert (
                styles([*some, "rate segments=3", *reversed(some)]).items()
                >= {m: KNOWN[m] for m in some}.items()
            )
    drawn = [draw_svg(figure(bars(mode, ["a"]))) for mode in ("ottt", "bptt", "sltt")]
    fills = [re.findall(r'fill-opacity="[\d.]+" stroke="currentColor"[^/]*', text)[-1] for text in drawn]
    together = draw_svg(figure(*(bars(mode, ["a"]) for mode in ("bptt", "sltt", "ottt"))))
    assert len(set(fills)) == 3 and all(fill in together for fill in fills)


def test_a_mode_without_a_look_of_its_own_gets_one_that_is_free() -> None:
    every = [*KNOWN, *(f"rate segments={k}" for k in range(9, 29))]
    for values in (["bptt", "sltt", "rate segments=3"], ["rate segments=3", "ottt"], every):
        found = styles(values).values()
        assert len({(style.colour, style.marker) for style in found}) == len(values)
    beside = styles(["sltt", "rate segments=3"])["rate segments=3"]
    assert beside not in (KNOWN["bptt"], KNOWN["rate"])  # nobody takes it for one of these


def test_eight_colours_stay_apart_for_every_eye_and_in_grey() -> None:
    for eye in EYES.values():
        for of in ([style.colour for style in STYLES], [style.dark for style in STYLES]):
            assert min(math.dist(lab(a, eye), lab(b, eye)) for a, b in combinations(of, 2)) > 18
    lightness = sorted(lab(style.colour)[0] for style in STYLES)
    assert min(b - a for a, b in pairwise(lightness)) > 4
    for style in STYLES:  # as WCAG asks for graphics
        assert contrast(style.colour, LIGHT[1]) > 3 and contrast(style.dark, DARK[1]) > 3


@pytest.mark.parametrize("at", [0.5, 2.5, 40.0])
def test_a_mark_stands_within_the_frame_with_its_text(at: float) -> None:
    made = Figure("kind", "t", Axis("energy (µJ)", log=None), Axis("y"), "", [lines(n=3)], mark=Mark(at, ODD))
    parsed(made)  # well-formed
    upright = [text for text in parsed(made).iter(f"{SVG}text") if "rotate" in text.get("transform", "")]
    assert any((text.text or "").startswith("a<b>") for text in upright)
    (line,) = re.findall(r'M([\d.]+) [\d.]+v[\d.]+" stroke="currentColor" stroke-dasharray', draw_svg(made))
    assert 0 < float(line) < WIDTH - 8 and any(f"energy {at:g}" in title for title in told(made))


def test_eight_values_differ_in_every_way_and_more_in_colour_and_marker_together() -> None:
    for values in ([f"v{n}" for n in range(8)], ["bptt", "rate", *(f"v{n}" for n in range(6))]):
        found = list(styles(values).values())
        for part in ("colour", "dark", "css", "marker", "dash"):
            assert len({getattr(style, part) for style in found}) == 8
        bars_of = draw_svg(figure(*(bars(value, ["a"]) for value in values)))
        looks = set(
            re.findall(r'fill-opacity="[\d.]+" stroke="currentColor"(?: stroke-dasharray="[\d ]+")?', bars_of)
        )
        assert len(looks) == 8
    many = styles([f"v{n}" for n in range(60)]).values()
    assert len({(style.colour, style.marker) for style in many}) == 60


def test_a_value_has_one_look_whether_or_not_the_others_are_drawn() -> None:
    values = ("a", "b", "c", "d")
    alone = Figure("kind", "t", Axis("x"), Axis("y"), "", [bars("c", ["layer"])], modes=values)
    assert styles(values)["c"].colour in draw_svg(alone) and 'fill-opacity="0.0"' in draw_svg(alone)


def test_colours_change_on_a_dark_screen_and_are_plain_attributes_elsewhere() -> None:
    text = draw_svg(figure(lines("bptt")))
    (rules,) = re.findall(r"<style>(.*?)</style>", text)
    assert rules.startswith("@media screen and (prefers-color-scheme:dark)") and "var(" not in text
    assert KNOWN["bptt"].dark in rules and f'color="{KNOWN["bptt"].colour}"' in text.replace(rules, "")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no finite number"):
        draw_svg(figure(Series("bptt", "B", "points", [1], [value])))
