"""A drawing inside a page: in the page's colours and typeface, with ids of its own.

In:   an SVG document from figures.py.   Out: an `svg` element that may stand beside others.
"""

import html
import re

from pipeline.results.figures import learning_curves

# A drawing in a file of its own keeps its colours; the page changes them on a dark screen.
CSS_VARIABLES = {
    **{colour: f"--run-{number}" for number, colour in enumerate(learning_curves.PALETTE)},
    learning_curves.TEXT_COLOUR: "--ink",
    learning_curves.AXIS_COLOUR: "--muted",
    learning_curves.GRID_COLOUR: "--grid",
    learning_curves.BACKGROUND_RUN_COLOUR: "--rest",
    "#ffffff": "--paper",
}


def embed_svg(svg: str, id_prefix: str, description: str) -> str:
    """The same drawing inside a page: its colours follow the page, its ids are its own."""
    head, body = svg[svg.index("<svg") :].split(">", 1)
    view = "".join(re.findall(r'viewBox="[^"]*"', head))
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(
        r"<[^>]*>", lambda tag: _rewrite_tag(tag[0], id_prefix), body
    )  # and no text between tags
    return f'<svg {view} role="img" aria-label="{html.escape(description)}">{body}'


def _rewrite_tag(tag: str, id_prefix: str) -> str:
    tag = re.sub(r'\bid="', f'id="{id_prefix}-', tag)
    tag = re.sub(r'(url\(#|href="#)', rf"\g<1>{id_prefix}-", tag)
    tag = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", tag)
    tag = re.sub(r"#[0-9a-f]{6}\b", lambda colour: _css_colour(colour[0]), tag)
    return re.sub(r" font-family: [^;\"]*;?", "", tag)  # the page's own typeface


def _css_colour(colour: str) -> str:
    return f"var({CSS_VARIABLES[colour]})" if colour in CSS_VARIABLES else colour
