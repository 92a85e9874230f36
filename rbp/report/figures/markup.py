"""Pieces of SVG text: escaped texts, short numbers, and how wide a text is."""

import re
import textwrap
from html import escape as _escape

CHARACTER = 0.55  # mean width of a character as a share of the font's size; fonts differ by a tenth
# Characters that XML has no place for, not even escaped.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def escape(text: str) -> str:
    """Return a text for an element or an attribute in double quotes."""
    return _escape(_NOT_XML.sub("\ufffd", text))


def short(value: float) -> str:
    """Return a coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def titled(shape: str, title: str) -> str:
    """Return a shape without content ("<circle .../>") with a title, which browsers show on hover."""
    name = shape[1 : shape.index(" ")]
    return f"{shape[:-2]}><title>{escape(title)}</title></{name}>"


def width(text: str, size: float) -> float:
    """Return about how wide a text is, in the units of the font's size."""
    return len(text) * CHARACTER * size


def cut(text: str, length: int) -> str:
    """Return a text with at most `length` characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def wrap(text: str, room: float, size: float, most: int = 3) -> list[str]:
    """Return a text as lines that fit into `room`, at most `most` of them."""
    length = max(8, int(room / (CHARACTER * size)))
    return textwrap.wrap(text, length, max_lines=most, placeholder=" …") or [""]
