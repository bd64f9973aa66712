"""Render: the template of the page filled with what a report found. The only home of jinja2.

In:   the values of a report, by the names that the templates use.   Out: one self-contained page.
Not here: what the page says (results/report.py and the rooms that it calls).
"""

import base64
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import jinja2.runtime
import markupsafe
from markupsafe import Markup

from pipeline.results.summary import formatting

COMMAND_PATTERN = re.compile(r"\bmake [a-z-]+(?: [A-Z]+=\S*[^\s.,;:])*")
TEMPLATE_DIR = Path(__file__).parent


def render_page(context: Mapping[str, Any]) -> str:
    """Render the page with every value escaped.

    The browser runs only the script whose digest the page's security policy names.
    """
    script = _join_files("js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            **context,
            reordering_names=_right_to_left(each.label for each in context["views"])
            | _right_to_left(each.name for each in context["lines"]),
            style=Markup(_join_files("css")),  # noqa: S704
            script=Markup(script),  # noqa: S704
            script_digest=digest,
        )
    )


@cache
def _environment() -> jinja2.Environment:
    """Return the templates, which a process compiles once, and their filters."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE_DIR),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sentence"] = _format_sentence
    environment.filters |= {
        name: function for name, function in vars(formatting).items() if name.startswith("format_")
    }
    return environment


@jinja2.pass_context
def _format_sentence(context: jinja2.runtime.Context, text: str) -> Markup:
    """Return a sentence of the answer, its commands as code.

    The names in `reordering_names` would change the order of the numbers and brackets beside them.
    """
    escaped = str(markupsafe.escape(text)).replace(" %", f"{formatting.NARROW_SPACE}%")
    formatted = COMMAND_PATTERN.sub(r"<code>\g<0></code>", escaped)
    names = (str(markupsafe.escape(name)) for name in context["reordering_names"])
    if longest_first := sorted(names, key=len, reverse=True):
        pattern = "|".join(map(re.escape, longest_first))
        formatted = re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", r"<bdi>\g<0></bdi>", formatted)
    return Markup(formatted)  # noqa: S704


def _right_to_left(names: Iterable[str]) -> set[str]:
    """Return the names that hold letters of Hebrew, Arabic or another such script."""
    return {
        name
        for name in names
        if any(unicodedata.bidirectional(letter) in {"R", "AL"} for letter in name)
    }


def _join_files(suffix: str) -> str:
    """Return page.css or page.js, followed by the files of single sections."""
    paths = sorted(TEMPLATE_DIR.glob(f"*.{suffix}"), key=lambda path: (path.stem != "page", path))
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)
