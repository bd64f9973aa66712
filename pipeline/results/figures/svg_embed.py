"""A drawing inside a page: in the page's colours and typeface, with ids of its own.

In:   an SVG document from figures.py.   Out: an `svg` element that may stand beside others.
"""

import html
import re

from pipeline.results.figures import learning_curves

# A drawing in a file of its own keeps its colours; the page changes them on a dark screen.
VARIABLES = {
    **{colour: f"--run-{number}" for number, colour in enumerate(learning_curves.PALETTE)},
    learning_curves.INK: "--ink",
    learning_curves.MUTED: "--muted",
    learning_curves.GRID: "--grid",
    learning_curves.REST: "--rest",
    "#ffffff": "--paper",
}


def for_page(svg: str, name: str, description: str) -> str:
    """The same drawing inside a page: its colours follow the page, its ids are its own."""
    head, body = svg[svg.index("<svg") :].split(">", 1)
    view = "".join(re.findall(r'viewBox="[^"]*"', head))
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], name), body)  # and no text between tags
    return f'<svg {view} role="img" aria-label="{html.escape(description)}">{body}'


def _tag(tag: str, name: str) -> str:
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", tag)
    tag = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", tag)
    tag = re.sub(r"#[0-9a-f]{6}\b", lambda colour: _variable(colour[0]), tag)
    return re.sub(r" font-family: [^;\"]*;?", "", tag)  # the page's own typeface


def _variable(colour: str) -> str:
    return f"var({VARIABLES[colour]})" if colour in VARIABLES else colour
